//! `littorald dev`: a node that sets itself up by its own API.

use std::process::Command;

use littoral_tests::{DevNode, cli, component, run};

#[test]
fn a_first_start_answers_hello_and_its_files_serve_the_command_line() {
    run(async {
        let home = tempfile::tempdir().unwrap();
        let node = DevNode::start(&home.path().join("data")).await;

        let answer = node.get("hello.localhost/").await;
        assert_eq!(
            (answer.status(), answer.text().as_str()),
            (200, "Hello from the edge!\n")
        );
        assert_eq!(node.text("tenant"), "demo");
        let port = node.http().port();
        assert_ne!(port, 0);
        assert_eq!(node.text("url"), format!("http://hello.localhost:{port}/"));
        assert!(
            node.log().contains(&format!("curl {}", node.text("url"))),
            "{}",
            node.log()
        );

        let file = home.path().join("mine.wasm");
        std::fs::write(&file, component("echo")).unwrap();
        let deployed = Command::new(cli())
            .env_clear()
            .env("LITTORAL_ADMIN", node.text("admin"))
            .env("LITTORAL_TOKEN_FILE", node.path("token_file"))
            .args([
                "deploy",
                file.to_str().unwrap(),
                "--tenant",
                "demo",
                "--module",
                "mine",
            ])
            .args(["--host", "mine.localhost", "--key", node.text("key_file")])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&deployed.stdout).into_owned();
        let wrong = String::from_utf8_lossy(&deployed.stderr).into_owned();
        assert!(deployed.status.success(), "{wrong}");
        assert_eq!(said, format!("http://mine.localhost:{port}/\n"));
        assert_eq!(node.get("mine.localhost/").await.status(), 200);
        assert!(node.stop().await.success());
    });
}

/// What is printed is for whoever pastes it, wherever they stand.
#[test]
fn the_paths_that_are_printed_are_absolute() {
    run(async {
        let home = tempfile::tempdir().unwrap();
        let node = DevNode::start_in(home.path(), "data").await;
        for member in ["token_file", "key_file"] {
            let path = node.path(member);
            assert!(path.is_absolute() && path.exists(), "{}", path.display());
        }
    });
}

#[test]
fn a_second_start_keeps_everything() {
    run(async {
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join("data");
        let first = DevNode::start(&data).await;
        let key = std::fs::read(first.path("key_file")).unwrap();
        assert!(first.stop().await.success());

        let second = DevNode::start(&data).await;
        assert_eq!(second.get("hello.localhost/").await.status(), 200);
        assert_eq!(std::fs::read(second.path("key_file")).unwrap(), key);
        println!("a second start answered after {:?}", second.took);
        // The second start finds module and artifact, and neither uploads nor compiles anew.
        let page = second.metrics().await;
        let count = |series: &str| {
            let line = page.lines().find(|line| line.starts_with(series));
            line.and_then(|line| line.rsplit_once(' '))
                .map(|(_, value)| value)
        };
        assert!(count("littoral_modules").is_some(), "{page}");
        for series in [
            "littoral_uploads_total{outcome=\"accepted\"}",
            "littoral_artifact_states_total{state=\"compiled\"}",
            "littoral_artifact_states_total{state=\"recompiled\"}",
        ] {
            assert!(
                matches!(count(series), None | Some("0")),
                "{series}: {page}"
            );
        }
    });
}
