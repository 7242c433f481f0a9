//! The node changed while it serves: its configuration read anew, its worker replaced, its program upgraded.

mod traffic;

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use control_api::view::PageRequest;
use littoral_tests::{
    Ask, TestEdge, beside, component, end, littorald, refusal, run, run_within, until,
};
use rustix::process::Signal;
use traffic::Traffic;

use crate::bodies::upload_head;

/// Longer than most: every change waits for what the one before left to finish.
const MANY_CHANGES_MAX: Duration = Duration::from_secs(400);

async fn with_guests(edge: &TestEdge) {
    let acme = edge.tenant("acme").await;
    acme.guest("hello").await;
    acme.guest("waits").await;
}

#[test]
fn twenty_reloads_that_replace_the_worker_lose_no_request() {
    run_within(MANY_CHANGES_MAX, async {
        let edge = TestEdge::start().await;
        with_guests(&edge).await;
        let traffic = Traffic::begin(edge.http());
        traffic.answered(20).await;
        let mut workers = vec![edge.status().await.worker.pid];
        for number in 1..=20 {
            edge.configure("http.connections_max", 5000 + number);
            let reloaded = edge.client().reload().await.unwrap();
            assert!(reloaded.worker_replaced);
            assert_eq!(reloaded.changed.len(), 1, "{reloaded:?}");
            assert_eq!(reloaded.changed[0].key, "http.connections_max");
            assert_eq!(reloaded.changed[0].after, 5000 + number);
            let worker = edge.status().await.worker;
            assert!(worker.ready);
            workers.push(worker.pid);
            traffic.answered(20).await;
        }
        workers.sort_unstable();
        workers.dedup();
        assert_eq!(workers.len(), 21, "each reload brought another worker");
        assert_eq!(edge.status().await.worker.restarts, 0);
        let (answered, streamed) = traffic.end().await;
        println!("{answered} requests answered, and {streamed} slow ones, over 20 reloads");
        // What relieved workers did counts, and they are gone.
        until("the last relieved worker has ended", async || {
            let all = edge
                .metric("littoral_requests_total{tenant=\"acme\"}")
                .await;
            (all >= (answered + streamed) as f64).then_some(())
        })
        .await;
    });
}

#[test]
fn a_reload_applies_what_can_change_and_says_what_changed() {
    run(async {
        let edge = TestEdge::start().await;
        with_guests(&edge).await;
        let before = edge.status().await;
        edge.configure("log.level", "debug");
        edge.configure("limits.request_deadline_ms_max", 300);
        edge.configure("limits.response_head_ms_max", 300);
        let reloaded = edge.client().reload().await.unwrap();
        let keys: Vec<_> = reloaded
            .changed
            .iter()
            .map(|key| key.key.as_str())
            .collect();
        assert_eq!(
            keys,
            [
                "limits.request_deadline_ms_max",
                "limits.response_head_ms_max",
                "log.level"
            ]
        );
        assert_eq!(reloaded.changed[0].before, 10_000);
        let acme = "acme".parse().unwrap();
        let tenant = edge.client().tenant(&acme).await.unwrap().value;
        assert_eq!(tenant.effective_limits.request_deadline_ms_max, 300);
        until("the worker has learnt of it", async || {
            let answer = edge.get("waits.acme.test/?ms=2000").await;
            (answer.status() == 504).then_some(())
        })
        .await;
        let page = PageRequest {
            limit: 10,
            after: None,
        };
        let audit = edge.client().audit(&page).await.unwrap();
        let entry = &audit.items[0];
        assert_eq!(entry.action, "node.reload");
        assert_eq!(entry.after.as_ref().unwrap()["log.level"], "debug");
        assert_eq!(entry.before.as_ref().unwrap()["log.level"], "info");
        assert_eq!(edge.status().await.pid, before.pid);
        // Nothing more to do, and nothing is done.
        let again = edge.client().reload().await.unwrap();
        assert!(again.changed.is_empty() && !again.worker_replaced);
        assert_eq!(edge.status().await.revision, entry.seq);
    });
}

#[test]
fn a_reload_that_is_refused_names_all_that_stands_against_it_and_changes_nothing() {
    run(async {
        let edge = TestEdge::start().await;
        let before = edge.status().await;
        edge.configure("log.level", "debug");
        edge.configure("node.data_dir", "/elsewhere");
        edge.configure("store.cache_mib", 9);
        let error = edge.client().reload().await.unwrap_err().to_string();
        for wanted in [
            "node.data_dir cannot change",
            "\"/elsewhere\"",
            "store.cache_mib",
        ] {
            assert!(error.contains(wanted), "{error}");
        }
        assert!(!error.contains("log.level"), "{error}");
        edge.configure("http.threads", 1000);
        let error = edge.client().reload().await.unwrap_err().to_string();
        assert!(
            error.contains("http.threads") && error.contains("256"),
            "{error}"
        );
        edge.configure("outbound.ca_files", serde_json::json!(["/not/there.pem"]));
        edge.configure("http.threads", 0);
        edge.configure("store.cache_mib", 8);
        edge.configure("node.data_dir", edge.data().to_str().unwrap());
        let refused = edge.client().reload().await;
        assert_eq!(refusal(refused), "configuration-refused");
        let after = edge.status().await;
        assert_eq!(
            (after.revision, after.worker.pid),
            (before.revision, before.worker.pid)
        );
        assert!(!edge.log().contains("DEBUG"), "the log's level stayed");
    });
}

#[test]
fn a_signal_reloads_as_the_api_does() {
    run(async {
        let edge = TestEdge::start().await;
        let worker = edge.status().await.worker.pid;
        edge.configure("http.header_kib_max", 16);
        end(edge.pid(), Signal::HUP);
        until("another worker serves", async || {
            let now = edge.status().await.worker;
            (now.ready && now.pid != worker).then_some(())
        })
        .await;
        edge.configure("admin.body_json_kib_max", 1);
        end(edge.pid(), Signal::HUP);
        until("the log says what is refused", async || {
            edge.log()
                .contains("admin.body_json_kib_max cannot change")
                .then_some(())
        })
        .await;
    });
}

/// The process that is the node by now, which nobody else ends.
struct Node(u32);

impl Drop for Node {
    fn drop(&mut self) {
        end(self.0, Signal::KILL);
    }
}

/// Whether a process has ended, seen to or not.
fn has_ended(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_none_or(|(_, rest)| rest.starts_with('Z'))
}

/// How many upgrades the audit log has.
async fn upgrades(edge: &TestEdge) -> usize {
    let page = PageRequest {
        limit: 100,
        after: None,
    };
    let audit = edge.client().audit(&page).await.unwrap();
    let upgrades = audit
        .items
        .iter()
        .filter(|entry| entry.action == "node.upgrade");
    upgrades.count()
}

#[test]
fn ten_upgrades_in_a_row_lose_no_request_and_no_data() {
    run_within(MANY_CHANGES_MAX, async {
        let https = serde_json::json!(["127.0.0.1:0"]);
        let mut edge = TestEdge::build().set("https.listen", https).start().await;
        with_guests(&edge).await;
        let first = edge.pid();
        let mut node = Node(first);
        let traffic = Traffic::begin(edge.http());
        traffic.answered(20).await;
        for number in 1..=10 {
            let before = edge.status().await;
            let upgraded = edge.client().upgrade().await.unwrap();
            assert_ne!(upgraded.pid, before.pid);
            node.0 = upgraded.pid;
            let now = until("the new process answers", async || {
                let status = edge.client().status().await.ok()?;
                (status.pid == upgraded.pid).then_some(status)
            })
            .await;
            assert!(now.worker.ready && now.worker.pid != before.worker.pid);
            assert_eq!((&now.http, &now.https), (&before.http, &before.https));
            // (The revision rises by more than one: what tenants used is written too.)
            assert!(now.revision > before.revision);
            assert_eq!(upgrades(&edge).await, number, "what took over is noted");
            // Changes are taken, and survive the next upgrade.
            edge.tenant(&format!("tenant-{number}")).await;
            traffic.answered(20).await;
        }
        let status = edge.status().await;
        assert_eq!(status.tenants, 11);
        let (answered, streamed) = traffic.end().await;
        println!("{answered} requests answered, and {streamed} slow ones, over 10 upgrades");
        assert!(
            edge.control().wait().await.success(),
            "the first process has ended well"
        );
        // The last one is a node as any other: it ends as it is told to, and leaves no socket behind.
        end(node.0, Signal::TERM);
        until("the last process has ended", async || {
            has_ended(node.0).then_some(())
        })
        .await;
        assert!(!edge.data().with_file_name("admin.sock").exists());
    });
}

#[test]
fn a_program_that_does_not_come_up_leaves_the_old_one_serving() {
    run_within(MANY_CHANGES_MAX, async {
        let builder = TestEdge::build();
        // What runs is a copy, so that what lies there can be another program later.
        let program = builder.home().join("littorald");
        std::fs::copy(littorald(), &program).unwrap();
        let program_text = program.to_str().unwrap().to_owned();
        let start = format!("shift; exec {program_text} \"$@\"");
        let edge = builder
            .under(&["/bin/bash", "-c", &start, "bash"])
            .start()
            .await;
        with_guests(&edge).await;
        let before = edge.status().await;
        let traffic = Traffic::begin(edge.http());
        let put = |text: &str| {
            let new = program.with_file_name("new");
            std::fs::write(&new, text).unwrap();
            std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).unwrap();
            std::fs::rename(&new, &program).unwrap();
        };
        // One that cannot start, one that is none, one that finds out that it cannot when it has the store, and one of another
        // node.
        put("#!/bin/sh\nexit 7\n");
        let error = edge.client().upgrade().await.unwrap_err().to_string();
        assert!(error.contains("exit status: 7"), "{error}");
        put("no program at all");
        let refused = edge.client().upgrade().await;
        assert_eq!(refusal(refused), "upgrade-failed");
        let node = littorald().to_str().unwrap();
        put(&format!("#!/bin/bash\nexec {node} \"$@\"\n"));
        edge.configure("outbound.ca_files", serde_json::json!(["/not/there.pem"]));
        let error = edge.client().upgrade().await.unwrap_err().to_string();
        assert!(error.contains("exit status: 1"), "{error}");
        edge.configure("outbound.ca_files", serde_json::json!([]));
        let data = edge.data().to_str().unwrap().to_owned();
        edge.configure("node.data_dir", format!("{data}-of-another"));
        let refused = edge.client().upgrade().await;
        assert_eq!(refusal(refused), "upgrade-failed");
        assert!(edge.log().contains("node.data_dir cannot change"));
        edge.configure("node.data_dir", data);
        let after = edge.status().await;
        assert_eq!(
            (after.pid, after.worker.pid),
            (before.pid, before.worker.pid)
        );
        traffic.answered(20).await;
        // Changes are taken as before, and the store is whole.
        edge.tenant("later").await;
        traffic.end().await;
        let upgraded = edge.client().upgrade().await.unwrap();
        let _node = Node(upgraded.pid);
        until("the new one has what the old one took", async || {
            let status = edge.client().status().await.ok()?;
            (status.pid == upgraded.pid && status.tenants == 2).then_some(())
        })
        .await;
    });
}

#[test]
fn a_signal_upgrades_and_the_manager_is_told_who_the_node_is() {
    run(async {
        let builder = TestEdge::build();
        let place = builder.home().join("notify");
        let manager = std::os::unix::net::UnixDatagram::bind(&place).unwrap();
        manager.set_nonblocking(true).unwrap();
        let environment = vec![("NOTIFY_SOCKET".to_owned(), place.into_os_string())];
        let edge = builder.environment(environment).start().await;
        end(edge.pid(), Signal::USR2);
        let mut said = String::new();
        until("the new process says that it is ready", async || {
            let mut space = [0; 4096];
            while let Ok(length) = manager.recv(&mut space) {
                said.push_str(&String::from_utf8_lossy(&space[..length]));
            }
            let (_, after) = said.split_once("MAINPID=")?;
            after.contains("READY=1").then_some(())
        })
        .await;
        let (before, after) = said.split_once("MAINPID=").unwrap();
        assert!(before.contains("RELOADING=1\nMONOTONIC_USEC="), "{said}");
        let pid: u32 = after.lines().next().unwrap().parse().unwrap();
        let _node = Node(pid);
        assert_ne!(pid, edge.pid());
        assert!(!after.contains("STOPPING=1"), "{said}");
        until("the new process answers", async || {
            let status = edge.client().status().await.ok()?;
            (status.pid == pid).then_some(())
        })
        .await;
    });
}

#[test]
fn sockets_of_the_manager_are_passed_on() {
    run(async {
        let http = TcpListener::bind("127.0.0.1:0").unwrap();
        let builder = TestEdge::build();
        let admin = UnixListener::bind(builder.home().join("admin.sock")).unwrap();
        let mut edge = builder
            .passing([("http", http.into()), ("admin", admin.into())])
            .start()
            .await;
        with_guests(&edge).await;
        let hello = "GET / HTTP/1.1\r\nHost: hello.acme.test\r\n\r\n";
        let mut before = edge.wire().await;
        before.send(hello).await;
        assert_eq!(before.answer().await.status(), 200);
        let upgraded = edge.client().upgrade().await.unwrap();
        let node = Node(upgraded.pid);
        // What the old worker had accepted is answered by it, and told which answer is the last; then it ends.
        until("an answer is the last", async || {
            before.send(hello).await;
            let answer = before.answer().await;
            assert_eq!(answer.status(), 200);
            (answer.header("connection") == Some("close")).then_some(())
        })
        .await;
        assert!(edge.control().wait().await.success());
        assert_eq!(edge.get("hello.acme.test/").await.status(), 200);
        assert_eq!(edge.status().await.pid, upgraded.pid);
        end(node.0, Signal::TERM);
        until("it has ended", async || has_ended(node.0).then_some(())).await;
        assert!(
            edge.data().with_file_name("admin.sock").exists(),
            "the manager's stays"
        );
    });
}

#[test]
fn what_guests_count_is_counted_through_upgrades() {
    run(async {
        let edge = TestEdge::start().await;
        let acme = edge.tenant("acme").await;
        acme.guest("spin7-counter").await;
        let grants = serde_json::json!({"key_value": ["default"]});
        acme.grants("spin7-counter", grants).await.unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let (node, stopped) = (edge.http(), Arc::clone(&stop));
        let counting = beside(async move {
            let mut counted = 0;
            // One after another, since the program reads before it writes.
            while !stopped.load(Ordering::Relaxed) {
                let ask = Ask::new(node, "GET", "spin7-counter.acme.test/");
                let answer = ask.header("Connection", "close").send().await;
                counted += 1;
                assert_eq!(answer.text(), format!("Visit number: {counted}"));
            }
            counted
        });
        let mut node = Node(edge.pid());
        for _ in 0..3 {
            node.0 = edge.client().upgrade().await.unwrap().pid;
            until("the new process answers", async || {
                let status = edge.client().status().await.ok()?;
                (status.pid == node.0).then_some(())
            })
            .await;
        }
        stop.store(true, Ordering::Relaxed);
        assert!(counting.await.unwrap() > 3);
    });
}

#[test]
fn an_upload_under_way_is_finished_before_an_upgrade() {
    run(async {
        let edge = TestEdge::start().await;
        let acme = edge.tenant("acme").await;
        let bytes = component("hello");
        let (first, second) = bytes.split_at(bytes.len() / 2);
        let framing = format!("Content-Length: {}", bytes.len());
        let mut upload = upload_head(&edge, &acme, "hello", &bytes, &framing).await;
        upload.send(first).await;
        let client = edge.client().clone();
        until("it is being taken", async || {
            let incoming = edge.data().join("components/incoming");
            let mut files = std::fs::read_dir(incoming).ok()?;
            files.next().map(drop)
        })
        .await;
        let upgrading = beside(async move { client.upgrade().await });
        until("no more uploads are taken", async || {
            let refused = acme.upload("other", 1, component("waits")).await;
            refused
                .is_err_and(|error| error.problem().is_some_and(|problem| problem.status == 503))
                .then_some(())
        })
        .await;
        upload.send(second).await;
        assert_eq!(upload.answer().await.status(), 201);
        let upgraded = upgrading.await.unwrap().unwrap();
        let _node = Node(upgraded.pid);
        until("the new process has it", async || {
            let status = edge.client().status().await.ok()?;
            (status.pid == upgraded.pid && status.modules >= 1).then_some(())
        })
        .await;
    });
}
