//! The command line `littoral` against a real node.

use std::process::{Command, Output};

use control_api::auth::Scope;
use littoral_tests::{Shared, TestEdge, cli, component, run};
use serde_json::Value;

static NODE: Shared = Shared::new();

/// Runs it in an environment that holds the node's address and a token, and nothing else.
async fn littoral(edge: &TestEdge, arguments: &[&str]) -> Output {
    let mut command = Command::new(cli());
    let token = edge.token(&[Scope::NodeAdmin], None);
    command
        .env_clear()
        .env("LITTORAL_ADMIN", edge.admin())
        .env("LITTORAL_TOKEN", token)
        .args(arguments);
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

async fn json(edge: &TestEdge, arguments: &[&str]) -> Value {
    let output = littoral(edge, &[arguments, &["--output", "json"]].concat()).await;
    let wrong = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {wrong}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
}

#[test]
fn plain_http_needs_no_certificate_authorities() {
    run(async {
        let edge = NODE.edge().await;
        let nothing = tempfile::tempdir().unwrap();
        let admin = format!("http://{}", edge.admin_tcp().await);
        for admin in [&edge.admin(), &admin] {
            let output = Command::new(cli())
                .env_clear()
                .env("SSL_CERT_FILE", "/dev/null")
                .env("SSL_CERT_DIR", nothing.path())
                .env("LITTORAL_ADMIN", admin)
                .env("LITTORAL_TOKEN", edge.token(&[Scope::NodeAdmin], None))
                .arg("status")
                .output()
                .unwrap();
            let wrong = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{admin}: {wrong}");
        }
    });
}

#[test]
fn a_publisher_goes_from_a_key_to_a_served_module_by_the_command_line_alone() {
    run(async {
        let edge = NODE.edge().await;
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
        std::fs::write(at("site.wasm"), component("hello")).unwrap();

        let public = json(&edge, &["keygen", &at("publisher.key")]).await;
        std::fs::write(at("publisher.jwk"), public.to_string()).unwrap();
        json(&edge, &["tenant", "create", "cli"]).await;
        json(
            &edge,
            &["key", "add", &at("publisher.jwk"), "--tenant", "cli"],
        )
        .await;
        let key = at("publisher.key");
        let file = at("site.wasm");
        let deploy = [
            "deploy", &file, "--tenant", "cli", "--module", "site", "--host", "cli.test", "--key",
            &key,
        ];

        let tried = json(&edge, &[&deploy[..], &["--dry-run"]].concat()).await;
        assert_eq!(tried["upload"]["accepted"], true);
        assert_eq!(
            json(&edge, &["module", "list", "--tenant", "cli"])
                .await
                .as_array()
                .map(Vec::len),
            Some(0)
        );

        let deployed = json(&edge, &deploy).await;
        assert_eq!(deployed["created"], true);
        assert_eq!(
            deployed["url"],
            format!("http://cli.test:{}/", edge.http().port())
        );
        assert_eq!(deployed["route"]["id"], "cli.test/");
        assert_eq!(edge.get("cli.test/").await.text(), "Hello from the edge!\n");

        let routes = json(&edge, &["route", "list", "--tenant", "cli"]).await;
        assert_eq!(routes[0]["module"], "site");
        assert_eq!(json(&edge, &["usage", "cli"]).await["requests"], 1);
        assert_eq!(json(&edge, &["status"]).await["state"], "serving");
        json(&edge, &["route", "delete", "cli.test/", "--tenant", "cli"]).await;
        json(&edge, &["module", "delete", "site", "--tenant", "cli"]).await;
        json(&edge, &["tenant", "delete", "cli"]).await;
        assert_eq!(edge.get("cli.test/").await.reason(), "no-route");
    });
}

#[test]
fn a_refusal_is_shown_with_title_detail_and_request_id() {
    run(async {
        let edge = NODE.edge().await;
        let output = littoral(&edge, &["tenant", "show", "nobody"]).await;
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            said.contains("No such tenant") && said.contains("nobody"),
            "{said}"
        );
        let id = said
            .split_whitespace()
            .find(|word| word.trim_matches(|c: char| !c.is_ascii_hexdigit()).len() == 32);
        assert!(id.is_some(), "no request id: {said}");

        let output = littoral(&edge, &["tenant", "show", "nobody", "--output", "json"]).await;
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(said.contains("/tenant-not-found"), "{said}");
    });
}

#[test]
fn a_spin_application_is_deployed_from_its_manifest_and_what_has_no_counterpart_is_named() {
    run(async {
        let edge = NODE.edge().await;
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
        for guest in ["spin5-counter", "spin5-keeps", "spin7-hello"] {
            std::fs::write(at(&format!("{guest}.wasm")), component(guest)).unwrap();
        }
        let manifest = r#"
            spin_manifest_version = 2
            [application]
            name = "shop"
            [[trigger.http]]
            route = "/visits/..."
            component = "counter"
            [[trigger.http]]
            route = "/"
            component = "hello"
            [component.counter]
            source = "spin5-counter.wasm"
            key_value_stores = ["default"]
            [[trigger.http]]
            route = "/variable/..."
            component = "keeps"
            [[trigger.http]]
            route = "/read/..."
            component = "keeps"
            [component.keeps]
            source = "spin5-keeps.wasm"
            files = ["pages/**/*", { source = "assets", destination = "/static" }]
            exclude_files = ["**/*.map"]
            [component.keeps.variables]
            api_url = "https://{{ host }}/v1"
            later = "{{ later }}"
            [variables]
            host = { default = "api.example.com" }
            later = { required = true, secret = true }
            [component.hello]
            source = "spin7-hello.wasm"
        "#;
        std::fs::write(at("spin.toml"), manifest).unwrap();
        for (file, content) in [
            ("pages/de/index.html", "Hallo"),
            ("assets/app.js", "let a;"),
            ("assets/app.js.map", "{}"),
        ] {
            std::fs::create_dir_all(std::path::Path::new(&at(file)).parent().unwrap()).unwrap();
            std::fs::write(at(file), content).unwrap();
        }
        let public = json(&edge, &["keygen", &at("publisher.key")]).await;
        std::fs::write(at("publisher.jwk"), public.to_string()).unwrap();
        json(&edge, &["tenant", "create", "shop"]).await;
        json(
            &edge,
            &["key", "add", &at("publisher.jwk"), "--tenant", "shop"],
        )
        .await;
        let (file, key) = (at("spin.toml"), at("publisher.key"));
        let deploy = [
            "deploy",
            &file,
            "--tenant",
            "shop",
            "--host",
            "shop.test",
            "--key",
            &key,
        ];

        let tried = json(&edge, &[&deploy[..], &["--dry-run"]].concat()).await;
        assert_eq!(tried["modules"][0]["upload"]["accepted"], true);
        assert_eq!(tried["variables_without_value"][0], "keeps/later");
        assert_eq!(tried["modules"][0]["grants"]["key_value"][0], "default");
        let modules = json(&edge, &["module", "list", "--tenant", "shop"]).await;
        assert_eq!(modules.as_array().map(Vec::len), Some(0));

        let deployed = json(&edge, &deploy).await;
        let port = edge.http().port();
        assert_eq!(
            deployed["urls"][0],
            format!("http://shop.test:{port}/visits")
        );
        assert_eq!(deployed["routes_with_all_below"], serde_json::json!(["/"]));
        assert_eq!(
            edge.get("shop.test/").await.text(),
            "Hello from WebAssembly!"
        );
        for visit in 1..3 {
            let answer = edge.get("shop.test/visits/a").await.text();
            assert_eq!(answer, format!("Visit number: {visit}"));
        }

        for (path, content) in [
            ("/pages/de/index.html", "Hallo"),
            ("/static/app.js", "let a;"),
        ] {
            let read = edge.get(&format!("shop.test/read?key={path}")).await;
            assert_eq!((read.status(), read.text()), (200, content.to_owned()));
        }
        let excluded = edge.get("shop.test/read?key=/static/app.js.map").await;
        assert_eq!(excluded.status(), 418);
        // The same of one module, by hand.
        let program = component("cgi");
        std::fs::write(at("cgi.wasm"), program).unwrap();
        let (program, files) = (at("cgi.wasm"), format!("{}:/www", at("pages")));
        let alone = [
            "deploy",
            &program,
            "--tenant",
            "shop",
            "--host",
            "files.test",
            "--module",
            "files",
        ];
        json(
            &edge,
            &[&alone[..], &["--key", &key, "--files", &files]].concat(),
        )
        .await;
        let read = edge.get("files.test/?read=/www/de/index.html").await;
        assert_eq!(read.text(), "Hallo");

        let variable = async |name: &str| {
            let place = format!("shop.test/variable?key={name}");
            edge.get(&place).await.text()
        };
        assert_eq!(variable("api_url").await, "https://api.example.com/v1");
        assert!(variable("later").await.contains("Undefined"));
        let given = [&deploy[..], &["--variable", "later=now"]].concat();
        let deployed = json(&edge, &given).await;
        assert_eq!(deployed["variables_without_value"], serde_json::json!([]));
        assert_eq!(variable("later").await, "now");
        // What was set stays where nothing is said of it.
        json(&edge, &deploy).await;
        assert_eq!(variable("later").await, "now");

        let more = format!("{manifest}\nai_models = [\"llama2\"]\n");
        std::fs::write(&file, more).unwrap();
        let output = littoral(&edge, &deploy).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success());
        assert!(
            said.contains("[component.hello] ai_models is not supported"),
            "{said}"
        );
    });
}
