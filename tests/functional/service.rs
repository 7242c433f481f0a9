//! The node under a service manager: notifications, signs of life, sockets and credentials that are passed.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use littoral_tests::{TestEdge, Wire, littorald, run, until};
use rustix::process::{Signal, geteuid};

/// A manager's socket that never makes a test wait.
fn manager(path: &std::path::Path) -> UnixDatagram {
    let socket = UnixDatagram::bind(path).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

/// What was said since the last look, one notification an entry.
fn said(manager: &UnixDatagram) -> Vec<String> {
    std::iter::from_fn(|| {
        let mut space = [0; 4096];
        let length = manager.recv(&mut space).ok()?;
        Some(String::from_utf8_lossy(&space[..length]).into_owned())
    })
    .collect()
}

/// Waits for a notification that has this line.
async fn hears(manager: &UnixDatagram, line: &str) -> String {
    until(line, async || {
        said(manager)
            .into_iter()
            .find(|said| said.lines().any(|own| own == line))
    })
    .await
}

fn notified(home: &std::path::Path, watchdog_ms: u64) -> Vec<(String, std::ffi::OsString)> {
    vec![
        ("NOTIFY_SOCKET".to_owned(), home.join("notify").into()),
        (
            "WATCHDOG_USEC".to_owned(),
            (watchdog_ms * 1000).to_string().into(),
        ),
    ]
}

#[test]
fn the_manager_is_told_of_readiness_changes_and_the_end() {
    run(async {
        let builder = TestEdge::build().set("http.drain_ms_max", 2000);
        let manager = manager(&builder.home().join("notify"));
        let environment = notified(builder.home(), 600_000);
        let mut edge = builder.environment(environment).start().await;
        let ready = hears(&manager, "READY=1").await;
        assert_eq!(ready, "READY=1\nSTATUS=serving 0 routes of 0 tenants\n");
        edge.control().tell_to_stop();
        let stopping = hears(&manager, "STOPPING=1").await;
        // Drain time, then five seconds to end the worker and ten for what remains.
        assert_eq!(
            stopping,
            "STOPPING=1\nEXTEND_TIMEOUT_USEC=17000000\nSTATUS=draining\n"
        );
        assert!(edge.control().wait().await.success());
    });
}

#[test]
fn signs_of_life_go_on_without_a_worker_and_the_status_says_so() {
    run(async {
        let builder = TestEdge::build()
            .set("worker.restart_backoff_ms_min", 3000)
            .set("worker.restart_backoff_ms_max", 3000);
        let manager = manager(&builder.home().join("notify"));
        let environment = notified(builder.home(), 300);
        let edge = builder.environment(environment).start().await;
        edge.tenant("acme").await.guest("hello").await;
        hears(&manager, "STATUS=serving 1 routes of 1 tenants").await;
        hears(&manager, "WATCHDOG=1").await;
        // The first replacement waits for the shortest time: supervision rests, and must answer all the same.
        edge.kill_worker().await;
        hears(
            &manager,
            "STATUS=the worker is being replaced; 1 routes of 1 tenants",
        )
        .await;
        let began = Instant::now();
        for _ in 0..3 {
            hears(&manager, "WATCHDOG=1").await;
        }
        assert!(
            began.elapsed() < Duration::from_millis(2500),
            "not only once the next worker is there"
        );
        hears(&manager, "STATUS=serving 1 routes of 1 tenants").await;
    });
}

#[test]
fn no_sign_of_life_comes_from_a_control_that_stands_still() {
    run(async {
        let builder = TestEdge::build();
        let manager = manager(&builder.home().join("notify"));
        let environment = notified(builder.home(), 300);
        let edge = builder.environment(environment).start().await;
        hears(&manager, "WATCHDOG=1").await;
        littoral_tests::end(edge.pid(), Signal::STOP);
        let state = format!("/proc/{}/stat", edge.pid());
        until("it stands still", async || {
            let stat = std::fs::read_to_string(&state).unwrap();
            stat.rsplit_once(") ")
                .is_some_and(|(_, rest)| rest.starts_with('T'))
                .then_some(())
        })
        .await;
        said(&manager);
        assert_eq!(
            edge.get("nobody.test/").await.status(),
            404,
            "the worker serves"
        );
        assert_eq!(said(&manager), Vec::<String>::new());
        littoral_tests::end(edge.pid(), Signal::CONT);
        hears(&manager, "WATCHDOG=1").await;
    });
}

#[test]
fn connections_wait_in_sockets_that_were_passed_while_the_node_is_replaced() {
    run(async {
        let http = TcpListener::bind("127.0.0.1:0").unwrap();
        let place = http.local_addr().unwrap();
        let builder = TestEdge::build()
            // Neither is listened on: the first would be refused to a second node, the second cannot be bound.
            .set("http.listen", serde_json::json!([place.to_string()]))
            .set("admin.listen", "127.0.0.1:1");
        let admin = UnixListener::bind(builder.home().join("admin.sock")).unwrap();
        let mut edge = builder
            .passing([("http", http.into()), ("admin", admin.into())])
            .start()
            .await;
        assert_eq!(edge.http(), place);
        edge.tenant("acme").await.guest("hello").await;
        assert_eq!(edge.get("hello.acme.test/").await.status(), 200);
        assert!(edge.stop().await.success());
        let mut wires = Vec::new();
        for _ in 0..20 {
            let mut wire = Wire::to(place).await;
            wire.send("GET / HTTP/1.1\r\nHost: hello.acme.test\r\nConnection: close\r\n\r\n")
                .await;
            wires.push(wire);
        }
        edge.start_again().await;
        for mut wire in wires {
            assert_eq!(wire.answer().await.status(), 200);
        }
    });
}

#[test]
fn what_is_passed_wrongly_is_refused_with_78_and_nothing_is_opened() {
    let listener = || TcpListener::bind("127.0.0.1:0").unwrap();
    let everywhere = || TcpListener::bind("0.0.0.0:0").unwrap();
    let datagrams = || OwnedFd::from(std::net::UdpSocket::bind("127.0.0.1:0").unwrap());
    for (count, names, socket, wanted) in [
        ("x", "http", listener().into(), "LISTEN_FDS=x"),
        ("1000", "http", listener().into(), "0 to 128"),
        ("1", "", listener().into(), "0 names for 1 sockets"),
        ("1", "http:admin", listener().into(), "2 names for 1"),
        ("1", "https", listener().into(), "\"https\"; allowed are"),
        ("1", "http", datagrams(), "does not listen for TCP"),
        ("1", "admin", datagrams(), "does not listen for TCP or Unix"),
        ("1", "admin", everywhere().into(), "not on loopback"),
    ] {
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join("data");
        let output = Command::new("/bin/bash")
            .args(["-c", "exec 3<&0 0</dev/null; LISTEN_PID=$$ exec \"$0\" run"])
            .arg(littorald())
            .env_clear()
            .env("LITTORAL_NODE_DATA_DIR", &data)
            .env("LISTEN_FDS", count)
            .env("LISTEN_FDNAMES", names)
            .stdin(Stdio::from(socket))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{count} {names}: {said}");
        assert!(said.contains(wanted), "{count} {names}: {said}");
        assert!(!data.exists(), "{count} {names}");
    }
}

#[test]
fn credentials_of_the_manager_are_used() {
    run(async {
        let builder = TestEdge::build();
        let credentials = builder.home().join("credentials");
        std::fs::create_dir(&credentials).unwrap();
        std::fs::write(credentials.join("littoral.metrics-token"), "let-me-in\n").unwrap();
        let environment = vec![("CREDENTIALS_DIRECTORY".to_owned(), credentials.into())];
        let edge = builder.environment(environment).start().await;
        let asked = async |fields: &[(&str, &str)]| {
            edge.admin_ask("GET", "/metrics", fields, b"")
                .await
                .status()
        };
        assert_eq!(asked(&[]).await, 401);
        assert_eq!(asked(&[("Authorization", "Bearer let-me-in")]).await, 200);
    });
}

#[test]
fn a_node_that_is_not_roots_but_may_change_users_gives_guests_another_one() {
    if !geteuid().is_root() {
        eprintln!("skipped: only root can start a node as another user");
        return;
    }
    run(async {
        let builder = TestEdge::build();
        // The node's user is in the worker's group, and so may hand it artifacts without a further capability.
        let (user, worker) = (65_531, 65_530);
        std::os::unix::fs::chown(builder.home(), Some(user), Some(user)).unwrap();
        // Its way to the binary need not be open to that user.
        let as_user = "exec 9<\"$0\"; exec setpriv --reuid=65531 --regid=65531 --groups=65530 \
            --inh-caps=-all,+setuid,+setgid,+setpcap,+kill --ambient-caps=-all,+setuid,+setgid,+setpcap,+kill \
            --bounding-set=-all,+setuid,+setgid,+setpcap,+kill --no-new-privs /proc/self/fd/9 \"$@\"";
        let mut edge = builder.under(&["/bin/bash", "-c", as_user]).start().await;
        edge.tenant("acme").await.guest("hello").await;
        assert_eq!(edge.get("hello.acme.test/").await.status(), 200);
        let owner = |pid: u32| std::fs::metadata(format!("/proc/{pid}")).unwrap().uid();
        assert_eq!(owner(edge.pid()), user);
        let confinement = edge.status().await.worker.confinement;
        assert_eq!(confinement.user_id, worker);
        assert!(confinement.without_capabilities);
        // It can end what is another user's: a worker that does not drain in time.
        assert!(edge.stop().await.success());
    });
}
