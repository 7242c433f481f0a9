//! Desired state: what files describe is made, a second run changes nothing, and nothing is removed unasked.

use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use control_api::auth::Scope;
use control_api::keypair::PrivateKey;
use control_api::view::PageRequest;
use littoral_tests::{Shared, TestEdge, cli, component, run, run_within, with_section};
use serde_json::Value;
use tempfile::TempDir;

static NODE: Shared = Shared::new();

const SECRET: &str = "postgres://shop:correct-horse@db.internal/shop";
/// As in the promise.
const TENANTS: usize = 500;
const SECOND_APPLY_MAX: Duration = Duration::from_secs(2);

async fn littoral(edge: &TestEdge, arguments: &[&str]) -> Output {
    let mut command = std::process::Command::new(cli());
    command
        .env_clear()
        .env("LITTORAL_ADMIN", edge.admin())
        .env("LITTORAL_TOKEN", edge.token(&[Scope::NodeAdmin], None))
        .env("SHOP_TOKEN", "a token from the environment")
        .args(arguments);
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

/// `apply` or `diff` with further arguments: exit code and report.
async fn asked(edge: &TestEdge, arguments: &[&str]) -> (i32, Value) {
    let output = littoral(edge, &[arguments, &["--output", "json"]].concat()).await;
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {}", String::from_utf8_lossy(&output.stderr));
    });
    (output.status.code().unwrap(), report)
}

fn changes(report: &Value) -> Vec<String> {
    let changes = report["changes"].as_array().unwrap();
    let said = changes.iter().map(|change| {
        let text = |name: &str| change[name].as_str().unwrap();
        format!("{} {} {}", text("how"), text("what"), text("state"))
    });
    said.collect()
}

/// The example of the README, with the files that it names.
fn example() -> TempDir {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../control-api/README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let (_, rest) = readme.split_once("## Desired state").unwrap();
    let (_, rest) = rest.split_once("```toml\n").unwrap();
    let (text, _) = rest.split_once("```").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("desired.toml"), text).unwrap();
    std::fs::write(at("shop.wasm"), component("spin5-keeps")).unwrap();
    std::fs::write(at("db_url"), format!("{SECRET}\n")).unwrap();
    keys(folder.path());
    folder
}

fn keys(folder: &Path) {
    let key = PrivateKey::generate().unwrap();
    key.write_new(&folder.join("publisher.key")).unwrap();
    let public = serde_json::to_string(&key.public()).unwrap();
    std::fs::write(folder.join("publisher.jwk"), public).unwrap();
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

#[test]
fn the_example_is_applied_served_and_a_second_time_changes_nothing() {
    run(async {
        let edge = NODE.edge().await;
        let folder = example();
        let file = text(&folder.path().join("desired.toml"));
        let revision = edge.status().await.revision;
        // Said before it is done; nothing is changed by that.
        let (code, planned) = asked(&edge, &["diff", "-f", &file]).await;
        assert_eq!(code, 0);
        assert!(!changes(&planned).is_empty());
        assert_eq!(
            asked(&edge, &["apply", "-f", &file, "--dry-run"]).await.1,
            planned
        );
        assert_eq!(edge.status().await.revision, revision);

        let (code, report) = asked(&edge, &["apply", "-f", &file]).await;
        assert_eq!(code, 0, "{report}");
        let done: Vec<_> = changes(&planned)
            .iter()
            .map(|change| change.replace("planned", "done"))
            .collect();
        assert_eq!(changes(&report), done);
        let shop = "shop.example.com/variable?key=";
        for (name, value) in [
            ("greeting", "Hello"),
            ("db_url", SECRET),
            ("token", "a token from the environment"),
        ] {
            let read = edge.get(&format!("{shop}{name}")).await;
            assert_eq!(
                (read.status(), read.text().as_str()),
                (200, value),
                "{name}"
            );
        }
        let tenant = edge
            .client()
            .tenant(&"acme".parse().unwrap())
            .await
            .unwrap();
        assert_eq!(tenant.value.limits.concurrent_requests_max, Some(32));
        assert_eq!(tenant.value.hosts.len(), 1);

        let revision = edge.status().await.revision;
        for again in [
            &["apply", "-f", &file][..],
            &["apply", "-f", &file, "--prune"],
        ] {
            let (code, report) = asked(&edge, again).await;
            assert_eq!((code, changes(&report)), (0, Vec::new()), "{report}");
            assert_eq!(report["secrets_left"], 2);
        }
        assert_eq!(edge.status().await.revision, revision);
        // Secrets come again where that is asked for, since they cannot be compared; nobody is shown one.
        let output = littoral(&edge, &["apply", "-f", &file, "--set-secrets"]).await;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains("~ acme: secret shop/db_url"), "{said}");
        assert!(
            said.contains("2 done, 0 failed") && !said.contains("correct-horse"),
            "{said}"
        );

        // Another component, and what else differs.
        let newer = with_section(&component("spin5-keeps"), "newer");
        std::fs::write(folder.path().join("shop.wasm"), newer).unwrap();
        let changed = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, changed.replace("\"Hello\"", "\"Welcome\"")).unwrap();
        let (_, report) = asked(&edge, &["apply", "-f", &file]).await;
        assert_eq!(
            changes(&report),
            ["change variable greeting done", "change module shop done"]
        );
        assert_eq!(edge.get(&format!("{shop}greeting")).await.text(), "Welcome");
    });
}

#[test]
fn only_what_is_described_is_removed_and_only_when_that_is_asked_for() {
    run(async {
        let edge = NODE.edge().await;
        let folder = tempfile::tempdir().unwrap();
        keys(folder.path());
        std::fs::write(folder.path().join("hello.wasm"), component("hello")).unwrap();
        let file = text(&folder.path().join("desired.toml"));
        let describe = |text: &str| std::fs::write(&file, text).unwrap();
        describe(
            r#"
            [tenants.kept]
            keys = ["publisher.jwk"]
            sign_with = "publisher.key"
            variables = { one = "1", two = "2" }
            routes = { "a.kept.test/" = "a", "b.kept.test/" = "b" }
            [tenants.kept.modules.a]
            component = "hello.wasm"
            [tenants.kept.modules.b]
            component = "hello.wasm"
            variables = { own = "own" }
            [tenants.leaving]
            "#,
        );
        let (code, report) = asked(&edge, &["apply", "-f", &file]).await;
        assert_eq!(code, 0, "{report}");
        edge.tenant("nobodys").await;

        describe(
            r#"
            remove_tenants = ["leaving", "never-there"]
            [tenants.kept]
            variables = { one = "1" }
            routes = { "a.kept.test/" = { module = "a" } }
            [tenants.kept.modules.a]
            "#,
        );
        let (code, report) = asked(&edge, &["apply", "-f", &file]).await;
        assert_eq!((code, changes(&report)), (0, Vec::new()), "{report}");
        assert_eq!(report["left"].as_array().map(Vec::len), Some(4), "{report}");
        assert_eq!(edge.get("b.kept.test/").await.status(), 200);

        let (code, report) = asked(&edge, &["apply", "-f", &file, "--prune"]).await;
        assert_eq!(code, 0, "{report}");
        // Keys are not described, and stay.
        assert_eq!(
            changes(&report),
            [
                "remove route b.kept.test/ done",
                "remove module b and its variables done",
                "remove variable two done",
                "remove tenant leaving and all it has done",
            ]
        );
        let page = PageRequest {
            after: None,
            limit: 1000,
        };
        let there = edge.client().holdings(&page).await.unwrap().items;
        let names: Vec<_> = there.iter().map(|one| one.tenant.as_ref()).collect();
        assert!(
            names.contains(&"nobodys") && !names.contains(&"leaving"),
            "{names:?}"
        );
        let kept = there
            .iter()
            .find(|one| one.tenant.as_ref() == "kept")
            .unwrap();
        assert_eq!((kept.keys.len(), kept.variables.len()), (1, 1));
        assert_eq!(edge.get("a.kept.test/").await.status(), 200);
    });
}

#[test]
fn what_cannot_be_done_is_said_of_its_tenant_and_the_others_are_done() {
    run(async {
        let edge = NODE.edge().await;
        let folder = tempfile::tempdir().unwrap();
        keys(folder.path());
        std::fs::write(folder.path().join("hello.wasm"), component("hello")).unwrap();
        std::fs::write(folder.path().join("broken.wasm"), "not one").unwrap();
        let describe = |name: &str, tenant: &str, component: &str, host: &str| {
            let text = format!(
                "[tenants.{tenant}]\nkeys = [\"publisher.jwk\"]\nsign_with = \"publisher.key\"\n\
                 routes = {{ \"{host}/\" = \"site\" }}\n\
                 [tenants.{tenant}.modules.site]\ncomponent = \"{component}\"\n"
            );
            std::fs::write(folder.path().join(name), text).unwrap();
        };
        describe("1.toml", "first", "broken.wasm", "first.test");
        describe("2.toml", "second", "hello.wasm", "second.test");
        let all = text(folder.path());
        let (code, report) = asked(&edge, &["apply", "-f", &all]).await;
        assert_eq!(code, 1);
        assert_eq!(
            [&report["failed"], &report["not_tried"]],
            [1, 1],
            "{report}"
        );
        let failed = report["changes"].as_array().unwrap().iter();
        let failed: Vec<_> = failed
            .filter(|change| change["state"] == "failed")
            .collect();
        assert_eq!(failed[0]["tenant"], "first");
        let kind = failed[0]["problem"]["type"].as_str().unwrap();
        assert!(kind.ends_with("/not-a-component"), "{kind}");
        assert_eq!(edge.get("second.test/").await.status(), 200);
        // It goes on from there.
        describe("1.toml", "first", "hello.wasm", "first.test");
        let (code, report) = asked(&edge, &["apply", "-f", &all]).await;
        assert_eq!(code, 0);
        assert_eq!(
            changes(&report),
            ["create module site done", "create route first.test/ done"]
        );

        // Files that are wrong are named with all that is, and nothing is asked of the node.
        let revision = edge.status().await.revision;
        for (wrong, said) in [
            ("[tenants.x]\nlimit = {}", "unknown field `limit`"),
            ("[tenants.UPPER]", "UPPER"),
            ("[tenants.x]\nkeys = [\"nowhere.jwk\"]", "key nowhere.jwk"),
            (
                "[tenants.x.modules.a]\ncomponent = \"nowhere.wasm\"",
                "component nowhere.wasm",
            ),
            ("[tenants.x.modules.a]", "has no `component`"),
            (
                "[tenants.x.modules.a]\ncomponent = \"hello.wasm\"",
                "`sign_with` names no key",
            ),
            (
                "[tenants.x]\nvariables = { a = 1 }",
                "expected a text, { file",
            ),
            (
                "[tenants.x]\nvariables = { a = { secret_env = \"NOWHERE\" } }",
                "no \"NOWHERE\"",
            ),
            (
                "[tenants.x]\nvariables = { \"m/a\" = \"1\" }",
                "described with the module",
            ),
            ("[tenants.second]", "described twice"),
            (
                "remove_tenants = [\"second\"]",
                "both described and to be removed",
            ),
        ] {
            std::fs::write(folder.path().join("3.toml"), wrong).unwrap();
            let output = littoral(&edge, &["apply", "-f", &all]).await;
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(2), "{wrong}: {told}");
            assert!(told.contains(said), "{wrong}: {told}");
        }
        assert_eq!(edge.status().await.revision, revision);
    });
}

#[test]
fn five_hundred_tenants_are_applied_and_a_second_time_takes_under_two_seconds() {
    run_within(Duration::from_secs(400), async {
        let edge = TestEdge::start().await;
        let folder = tempfile::tempdir().unwrap();
        keys(folder.path());
        std::fs::write(folder.path().join("hello.wasm"), component("hello")).unwrap();
        let tenants = (0..TENANTS).map(|number| {
            format!(
                "[tenants.t{number}]\nkeys = [\"publisher.jwk\"]\nsign_with = \"publisher.key\"\n\
                 limits = {{ concurrent_requests_max = 8 }}\nvariables = {{ greeting = \"{number}\" }}\n\
                 routes = {{ \"t{number}.test/\" = \"site\" }}\n\
                 [tenants.t{number}.modules.site]\ncomponent = \"hello.wasm\"\n\
                 grants = {{ variables = [\"greeting\"] }}\n"
            )
        });
        std::fs::write(folder.path().join("all.toml"), tenants.collect::<String>()).unwrap();
        let file = text(&folder.path().join("all.toml"));
        let began = Instant::now();
        let (code, report) = asked(&edge, &["apply", "-f", &file]).await;
        let first = began.elapsed();
        assert_eq!(code, 0, "{report}");
        assert_eq!(report["done"], 6 * TENANTS);
        assert_eq!(edge.get("t499.test/").await.status(), 200);
        let revision = edge.status().await.revision;
        let began = Instant::now();
        let (code, report) = asked(&edge, &["apply", "-f", &file, "--prune"]).await;
        let second = began.elapsed();
        println!("{TENANTS} tenants: first {first:?}, second {second:?}");
        assert_eq!((code, changes(&report)), (0, Vec::new()));
        assert_eq!(edge.status().await.revision, revision);
        assert!(second < SECOND_APPLY_MAX, "{second:?}");
    });
}
