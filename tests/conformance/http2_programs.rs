//! HTTP/2 with clients that others wrote: curl, nghttp and h2load.

use std::ffi::OsStr;
use std::process::Command;

use littoral_tests::{Authority, TestEdge, run};
use serde_json::json;

use crate::tenant;

/// What a program says; `None`, and a line that says so, where it is not there.
fn say<S: AsRef<OsStr>>(program: &str, package: &str, arguments: &[S]) -> Option<String> {
    match Command::new(program).args(arguments).output() {
        Ok(output) => Some(format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )),
        Err(error) => {
            let in_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
            assert!(!in_ci, "{program}: {error}");
            eprintln!("skipped: {program} is not there (Debian's package `{package}` has it)");
            None
        }
    }
}

#[test]
fn curl_speaks_it_by_prior_knowledge_and_by_agreement() {
    run(async {
        let edge = TestEdge::build()
            .set("https.listen", json!(["127.0.0.1:0"]))
            .start()
            .await;
        let (authority, https) = (Authority::new(), edge.https().await);
        let acme = edge.tenant("curled").await;
        acme.guest("echo").await;
        let issued = authority.issue(&["echo.curled.test"]);
        acme.certificate("one", &issued).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (ca, body) = (folder.path().join("ca.pem"), folder.path().join("body"));
        std::fs::write(&ca, authority.pem()).unwrap();
        std::fs::write(&body, "x".repeat(500_000)).unwrap();
        for (version, scheme, address) in [
            ("--http2-prior-knowledge", "http", edge.http()),
            ("--http2", "https", https),
        ] {
            let port = address.port();
            let resolve = format!("echo.curled.test:{port}:127.0.0.1");
            let url = format!("{scheme}://echo.curled.test:{port}/");
            let data = format!("@{}", body.display());
            let (ca, out) = (ca.display().to_string(), folder.path().join("out"));
            let out_name = out.display().to_string();
            let arguments = [
                "--silent",
                "--show-error",
                "--noproxy",
                "*",
                version,
                "--cacert",
                &ca,
                "--resolve",
                &resolve,
                "--data-binary",
                &data,
                "--output",
                &out_name,
                "--write-out",
                "%{http_version} %{http_code}",
                &url,
            ];
            let Some(said) = say("curl", "curl", &arguments) else {
                return;
            };
            assert_eq!(said, "2 200", "{scheme}");
            assert_eq!(std::fs::read(&out).unwrap(), std::fs::read(&body).unwrap());
        }
    });
}

#[test]
fn nghttp_gets_trailers_and_h2load_all_its_answers() {
    run(async {
        let (edge, acme) = tenant("loaded", &["streams", "hello"]).await;
        acme.limit(json!({ "concurrent_requests_max": 100, "waiting_requests_max": 200 }))
            .await;
        let url = |path: &str| format!("http://{}{path}", edge.http());
        let host = |guest: &str| format!("{guest}.loaded.test");
        let authority = format!("-H:authority: {}", host("streams"));
        let arguments = ["-v", "--no-dep", &authority, &url("/trailers?kib=200")];
        if let Some(said) = say("nghttp", "nghttp2-client", &arguments) {
            assert!(said.contains(":status: 200"), "{said}");
            assert!(said.contains("x-body-bytes: 204800"), "{said}");
        }
        let authority = format!("-H:authority: {}", host("hello"));
        let arguments = ["-n", "2000", "-c", "4", "-m", "25", &authority, &url("/")];
        if let Some(said) = say("h2load", "nghttp2-client", &arguments) {
            println!("{said}\n{:#?}", acme.usage().await);
            assert!(
                said.contains("2000 succeeded, 0 failed, 0 errored"),
                "{said}"
            );
            assert!(said.contains("status codes: 2000 2xx"), "{said}");
        }
    });
}
