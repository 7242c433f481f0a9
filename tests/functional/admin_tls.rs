//! The admin API over TLS, from the configuration of the real node to the command line.

use std::path::Path;

use littoral_tests::{Authority, TestEdge, cli, run};
use rcgen::DnType;
use serde_json::json;
use tokio::process::Command;

/// Runs the command line without a token; gives whether it succeeded, and what it said.
async fn littoral(address: &str, files: &[(&str, &Path)], line: &str) -> (bool, String) {
    let mut command = Command::new(cli());
    command.env_clear().env("LITTORAL_ADMIN", address);
    for (variable, path) in files {
        command.env(variable, path);
    }
    let output = command.args(line.split(' ')).output().await.unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

#[test]
fn a_client_certificate_takes_the_place_of_a_token_and_nothing_is_said_in_clear_text() {
    run(async {
        let authority = Authority::new();
        let node = authority.issue(&["127.0.0.1"]);
        let ops = authority.issue_as(&["ops.test"], &rcgen::PKCS_ECDSA_P256_SHA256, |it| {
            it.distinguished_name.push(DnType::CommonName, "ops");
        });
        let builder = TestEdge::build();
        let home = builder.home().to_owned();
        let file = |name: &str, text: &str| {
            let path = home.join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let chain = file("chain.pem", &node.chain);
        let key = file("key.pem", &node.key);
        let authorities = file("authorities.pem", authority.pem());
        let identity = file("ops.pem", &format!("{}{}", ops.chain, ops.key));
        let edge = builder
            .set("admin.tls_chain_file", json!(chain))
            .set("admin.tls_key_file", json!(key))
            .set("admin.client_authorities_file", json!(authorities))
            .set("admin.clients", json!(["ops=node:admin"]))
            .start()
            .await;
        let listening = edge
            .log()
            .lines()
            .find_map(|line| {
                line.split("admin=[")
                    .nth(1)?
                    .split(']')
                    .next()
                    .map(str::to_owned)
            })
            .unwrap();
        let secure = format!("https://{listening}");
        let believes = ("LITTORAL_CA_FILE", authorities.as_path());
        let shows = ("LITTORAL_CLIENT_FILE", identity.as_path());

        let (done, said) = littoral(&secure, &[believes, shows], "tenant create acme").await;
        assert!(done, "{said}");
        let (done, said) = littoral(&secure, &[believes, shows], "audit").await;
        assert!(done && said.contains("ops (client certificate)"), "{said}");
        let (done, said) = littoral(&secure, &[believes], "tenant list").await;
        assert!(!done && said.contains("token"), "{said}");
        let (done, said) = littoral(&secure, &[], "node alive").await;
        assert!(!done, "{said}");
        let clear = format!("http://{listening}");
        let (done, said) = littoral(&clear, &[], "node alive").await;
        assert!(!done, "{said}");
        // On the Unix socket tokens are as good as before.
        edge.client().status().await.unwrap();
    });
}
