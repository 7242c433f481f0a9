//! Programs in the languages that people write them in, made by those languages' own tools and deployed with `littoral
//! deploy`: each is answered, as it is.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test code: a panic is the message"
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use control_api::auth::Scope;
use littoral_tests::{TestEdge, cli, run_within};
use serde_json::json;

/// What each program answers to `POST /path` with the body `body`, as far as it says so.
const APPS: [(&str, &str); 9] = [
    ("javascript", "Hello from JavaScript, POST /path body\n"),
    ("python", "Hello from Python, /path\n"),
    ("c", "Hello from C, /path\nbody"),
    ("core-module", "Hello from a core module.\n"),
    ("cgi-p2", ""),
    ("spin5-hello", "Hello from WebAssembly!"),
    ("spin7-hello", "Hello from WebAssembly!"),
    ("spin5-counter", "Visit number: 1"),
    ("spin7-counter", "Visit number: 2"),
];

/// Builds those that have no place among the guests; `false` where this machine has no tools for it.
fn built() -> bool {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("apps");
    let has = |program: &str| {
        let version = Command::new(program).arg("--version").output();
        version.is_ok_and(|output| output.status.success())
    };
    let missing = ["npm", "python3", "clang-14"]
        .into_iter()
        .find(|program| !has(program));
    if let Some(program) = missing {
        assert!(std::env::var_os("CI").is_none(), "{program} is missing");
        eprintln!("skipped: {program} is missing");
        return false;
    }
    let build = Command::new(here.join("build"))
        .env("CARGO_TARGET_DIR", target())
        .status()
        .unwrap();
    assert!(build.success());
    true
}

/// The folder of everything that is built.
fn target() -> PathBuf {
    let suite = std::env::current_exe().unwrap();
    suite.ancestors().nth(3).unwrap().to_owned()
}

fn file(app: &str) -> PathBuf {
    let guests = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests/built");
    [target().join("apps"), guests]
        .map(|folder| folder.join(format!("{app}.wasm")))
        .into_iter()
        .find(|file| file.exists())
        .unwrap_or_else(|| panic!("{app} is nowhere"))
}

#[test]
fn programs_of_every_language_are_deployed_and_answer_as_they_are() {
    if !built() {
        return;
    }
    run_within(Duration::from_secs(400), async {
        let edge = TestEdge::start().await;
        let acme = edge
            .tenant_limited(
                "acme",
                // An interpreter is larger than most programs.
                json!({"component_kib_max": 65_536, "artifact_kib_max": 262_144, "instance_memory_mib_max": 128}),
            )
            .await;
        let home = tempfile::tempdir().unwrap();
        let key = home.path().join("publisher.key");
        acme.key().write_new(&key).unwrap();
        for (app, answer) in APPS {
            let host = format!("{app}.acme.test");
            let token = edge.token(&[Scope::Deploy], Some("acme"));
            let mut deploy = Command::new(cli());
            deploy
                .env_clear()
                .env("LITTORAL_ADMIN", edge.admin())
                .env("LITTORAL_TOKEN", token)
                .args([
                    "deploy", "--tenant", "acme", "--module", app, "--host", &host,
                ])
                .arg("--key")
                .arg(&key)
                .arg(file(app));
            let output = tokio::task::spawn_blocking(move || deploy.output().unwrap());
            let output = output.await.unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{app}: {said}");
            if app.ends_with("counter") {
                acme.grants(app, json!({"key_value": ["default"]}))
                    .await
                    .unwrap();
            }
            let asked = edge
                .ask("POST", &format!("{host}/path"))
                .body("body")
                .send()
                .await;
            let text = asked.text();
            assert_eq!(
                asked.status(),
                200,
                "{app}: {text}\n{:#?}",
                acme.logs().await
            );
            if app == "cgi-p2" {
                assert!(text.contains("PATH_INFO=/path"), "{text}");
            } else {
                assert_eq!(text, answer, "{app}");
            }
        }
    });
}
