//! A box whose clock or disk is not as it should be: the node serves on, says so, and loses nothing it acknowledged.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use control_api::auth::Scope;
use control_api::client::Client;
use control_api::token::{TokenRequest, mint};
use control_api::view::{Precondition, TenantWrite};
use littoral_tests::{TestEdge, component, now_s, refusal, run, until};
use rustix::process::geteuid;

const DAY_S: u64 = 24 * 3600;

/// Whether a test that lacks something must fail instead of being skipped.
fn must_run() -> bool {
    std::env::var("CI").as_deref() == Ok("true")
}

/// Variables with which a process sees the time that a file holds, as an offset; nothing where that cannot be had.
fn false_clock(offset: &Path) -> Option<Vec<(String, OsString)>> {
    let libraries = ["x86_64-linux-gnu", "aarch64-linux-gnu"]
        .map(|machine| PathBuf::from(format!("/usr/lib/{machine}/faketime/libfaketimeMT.so.1")));
    let Some(library) = libraries.iter().find(|library| library.exists()) else {
        assert!(!must_run(), "install the Debian package `libfaketime`");
        eprintln!("skipped: the Debian package `libfaketime` is not there");
        return None;
    };
    let variables = [
        ("LD_PRELOAD", library.clone().into_os_string()),
        (
            "FAKETIME_TIMESTAMP_FILE",
            offset.to_owned().into_os_string(),
        ),
        ("FAKETIME_NO_CACHE", "1".into()),
        // What measures how long something takes stays as it is.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ("DONT_FAKE_MONOTONIC", "1".into()),
    ];
    Some(
        variables
            .map(|(name, value)| (name.to_owned(), value))
            .into(),
    )
}

/// A client whose token was issued at a time, for an hour.
fn issued_at(edge: &TestEdge, at_s: u64) -> Client {
    let request = TokenRequest {
        issuer: "littoral".to_owned(),
        subject: "operator".to_owned(),
        audience: "test-node".to_owned(),
        scopes: vec![Scope::NodeAdmin],
        tenant: None,
        lifetime_s: 3600,
    };
    let token = mint(&edge.admin_key(), &request, at_s).unwrap();
    Client::new(&edge.admin(), Some(token)).unwrap()
}

async fn is_believed(client: &Client) -> bool {
    client.status().await.is_ok()
}

#[test]
fn a_box_that_comes_up_in_1970_serves_and_believes_what_it_should() {
    run(async {
        let mut edge = TestEdge::start().await;
        edge.tenant("acme").await.guest("hello").await;
        let offset = edge.data().join("offset");
        let Some(clock) = false_clock(&offset) else {
            return;
        };
        edge.set_environment(clock);
        // What a box without a battery says, then one whose battery is weak: two days behind.
        for behind in [format!("-{}", now_s() - 60), format!("-{}", 2 * DAY_S)] {
            std::fs::write(&offset, format!("{behind}s")).unwrap();
            // The harness's own token is of today: it would be from the future.
            edge.restart().await;
            assert!(
                edge.log()
                    .contains("it counts from there until the clock is set"),
                "{behind}"
            );
            assert_eq!(edge.get("hello.acme.test/").await.status(), 200, "{behind}");
            let expired = issued_at(&edge, now_s() - DAY_S);
            assert!(!is_believed(&expired).await, "{behind}");
            // Statements are checked by the same clock.
            let tenant = edge.client().tenant(&"acme".parse().unwrap()).await;
            assert!(tenant.is_ok(), "{behind}");
            let name = if behind.len() > 8 { "first" } else { "second" };
            edge.tenant(name).await.guest("hello").await;
        }
    });
}

#[test]
fn a_clock_that_jumps_a_year_ahead_and_back_leaves_everything_as_it_was() {
    run(async {
        let mut edge = TestEdge::start().await;
        edge.tenant("acme").await.guest("hello").await;
        let offset = edge.data().join("offset");
        let Some(clock) = false_clock(&offset) else {
            return;
        };
        edge.set_environment(clock);
        let jump = |to: &str| std::fs::write(&offset, to).unwrap();
        jump("+0s");
        edge.restart().await;
        jump("+365d");
        assert!(!is_believed(edge.client()).await, "it expired long ago");
        assert_eq!(edge.get("hello.acme.test/").await.status(), 200);
        let in_a_year = issued_at(&edge, now_s() + 365 * DAY_S);
        in_a_year
            .put_tenant(
                &"late".parse().unwrap(),
                &Default::default(),
                Default::default(),
            )
            .await
            .unwrap();
        jump("+0s");
        assert!(is_believed(edge.client()).await);
        assert!(!is_believed(&in_a_year).await, "it is of the future again");
        // A change made meanwhile raised no floor.
        edge.restart().await;
        assert!(is_believed(edge.client()).await);
        for tenant in ["acme", "late"] {
            let kept = edge.client().tenant(&tenant.parse().unwrap()).await;
            assert!(kept.is_ok(), "{tenant}");
        }
    });
}

#[test]
fn an_operator_who_says_that_the_clock_is_right_is_believed_from_then_on() {
    run(async {
        let builder = TestEdge::build();
        let offset = builder.home().join("offset");
        let Some(clock) = false_clock(&offset) else {
            return;
        };
        std::fs::write(&offset, "+0s").unwrap();
        let mut edge = builder.environment(clock.clone()).start().await;
        edge.tenant("acme").await;
        assert!(edge.stop().await.success());
        std::fs::write(&offset, "-2d").unwrap();
        for arguments in [&["run", "--clock-is-right"][..], &["run"]] {
            let config = offset.with_file_name("littoral.toml");
            let log = offset.with_file_name("log-of-clock");
            let mut node = littoral_tests::Process::start(
                littoral_tests::littorald(),
                &[arguments, &["--config", config.to_str().unwrap()]].concat(),
                &clock,
                std::process::Stdio::null(),
                &log,
            );
            let then = issued_at(&edge, now_s() - 2 * DAY_S);
            until("it serves", async || then.ready().await.ok()).await;
            assert!(is_believed(&then).await, "{arguments:?}");
            assert!(!is_believed(edge.client()).await, "{arguments:?}");
            node.tell_to_stop();
            assert!(node.wait().await.success());
        }
    });
}

/// A file system of its own in a folder, as small as it is told; gone when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn at(folder: &Path, mib: u32) -> Option<Self> {
        if !geteuid().is_root() {
            eprintln!("skipped: only root can mount a small disk");
            return None;
        }
        std::fs::create_dir_all(folder).unwrap();
        let size = format!("size={mib}m,mode=0700");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(folder)
            .status();
        if !mounted.is_ok_and(|status| status.success()) {
            assert!(!must_run(), "a tmpfs cannot be mounted");
            eprintln!("skipped: a tmpfs cannot be mounted");
            return None;
        }
        Some(Self(folder.to_owned()))
    }

    fn fill(&self, mib: usize) {
        // Zeros take their place in a tmpfs as anything else does.
        std::fs::write(self.0.join("filling"), vec![0; mib << 20]).unwrap();
    }

    fn fill_to_the_last_byte(&self) {
        let _ = std::fs::write(self.0.join("filling"), vec![0; 1 << 30]);
    }

    fn make_room(&self) {
        std::fs::remove_file(self.0.join("filling")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_refuses_commits_and_loses_none() {
    run(async {
        let builder = TestEdge::build();
        let Some(disk) = SmallDisk::at(&builder.home().join("data"), 96) else {
            return;
        };
        let edge = builder.start().await;
        let acme = edge.tenant("acme").await;
        acme.guest("spin5-sql").await;
        let granted = serde_json::json!({"databases": ["default"]});
        acme.grants("spin5-sql", granted).await.unwrap();
        let ask = async |sql: &str| {
            let place = format!("spin5-sql.acme.test/2?sql={sql}");
            edge.get(&place).await.text()
        };
        assert_eq!(ask("CREATE+TABLE+t(v)").await, "");
        assert_eq!(ask("INSERT+INTO+t+VALUES(1)").await, "");
        acme.limit(serde_json::json!({"database_kib_max": 1_000_000}))
            .await;
        disk.fill(40);
        let mut kept = 1;
        loop {
            let said = ask("INSERT+INTO+t+VALUES(randomblob(1000000))").await;
            if !said.is_empty() {
                assert!(said.contains("the node's disk is full"), "{said}");
                break;
            }
            kept += 1;
            assert!(kept < 1000, "the disk is never full");
        }
        disk.make_room();
        assert_eq!(ask("INSERT+INTO+t+VALUES(2)").await, "");
        let said = ask("SELECT+count(*)+AS+n+FROM+t;;PRAGMA+integrity_check").await;
        assert_eq!(
            said,
            format!(
                "n=Value::Integer({})\nintegrity_check=Value::Text(\"ok\")",
                kept + 1
            )
        );
    });
}

#[test]
fn a_full_disk_refuses_changes_and_uploads_serves_on_and_needs_no_restart() {
    run(async {
        let builder = TestEdge::build();
        let Some(disk) = SmallDisk::at(&builder.home().join("data"), 128) else {
            return;
        };
        let mut edge = builder.start().await;
        let acme = edge.tenant("acme").await;
        acme.guest("hello").await;

        // Below the reserve for components, above that of the store: changes go on, uploads do not.
        disk.fill(70);
        let upload = acme.upload("more", 1, component("echo")).await;
        assert_eq!(refusal(upload), "disk-full");
        edge.tenant("beside").await;
        disk.make_room();

        disk.fill_to_the_last_byte();
        let left = edge.left().await;
        let upload = acme.upload("more", 1, component("echo")).await;
        assert_eq!(refusal(upload), "disk-full");
        let name = "new".parse().unwrap();
        let write = TenantWrite::default();
        let change = edge
            .client()
            .put_tenant(&name, &write, Precondition::Absent)
            .await;
        assert_eq!(refusal(change), "disk-full");
        assert_eq!(edge.left().await, left, "nothing half is left");
        assert_eq!(edge.get("hello.acme.test/").await.status(), 200);
        // Neither does a worker need the disk, nor a start.
        edge.kill_worker().await;
        assert_eq!(edge.get("hello.acme.test/").await.status(), 200);
        edge.restart().await;
        assert_eq!(edge.get("hello.acme.test/").await.status(), 200);

        disk.make_room();
        edge.tenant("new").await;
        acme.through(edge.client()).guest("echo").await;
        assert_eq!(edge.get("echo.acme.test/").await.status(), 200);
        edge.restart().await;
        for tenant in ["acme", "beside", "new"] {
            let kept = edge.client().tenant(&tenant.parse().unwrap()).await;
            assert!(kept.is_ok(), "{tenant}");
        }
        assert!(edge.stop().await.success());
    });
}
