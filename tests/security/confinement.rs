//! What is left to code that has taken over a process: the barriers around the worker and the compile child.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use littoral_tests::{SOON, TestEdge, component, end, run, until, until_within};
use rustix::process::{Signal, geteuid};
use serde_json::json;

/// What must end the process, in the worker and in the child.
const DEADLY: &[&str] = &[
    "a-namespace",
    "a-process",
    "a-program",
    "an-old-filter",
    "another-filter",
    "be-traceable",
    "bind",
    "bpf",
    "capset",
    "chdir",
    "chmod",
    "chown",
    "chroot",
    "connect",
    "execve",
    "execveat",
    "in-another-thread",
    "io-uring",
    "keyctl",
    "kill-a-thread-of-others",
    "kill-others",
    "list-a-folder",
    "listen",
    "madvise-others",
    "make-writable-and-executable",
    "map-executable",
    "mkdir",
    "mount",
    "netlink",
    "open-by-handle",
    "openat2",
    "perf-event",
    "pidfd-open",
    "process-vm-readv",
    "ptrace",
    "raise-a-limit",
    "rename",
    "setns",
    "setuid",
    "socket",
    "tkill",
    "type-into-a-terminal",
    "unix-socket",
    "unlink",
    "userfaultfd",
];

fn deeds() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_deeds"))
}

fn does(kind: &str, folder: &Path, deed: &str) -> Output {
    Command::new(deeds())
        .arg(kind)
        .arg(folder)
        .arg(deed)
        .env_clear()
        .output()
        .unwrap()
}

fn dies_by_the_filter(output: &Output) -> bool {
    output.status.signal() == Some(Signal::SYS.as_raw())
}

/// A folder with one artifact that its owner may read and write: file modes are not what holds here.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("artifact"), "native code").unwrap();
    folder
}

#[test]
fn a_system_call_that_is_not_on_the_list_ends_the_process() {
    let folder = folder();
    for kind in ["worker", "compile"] {
        for deed in DEADLY {
            let output = does(kind, folder.path(), deed);
            assert!(dies_by_the_filter(&output), "{kind} {deed}: {output:?}");
        }
        for deed in ["nothing", "a-thread"] {
            let output = does(kind, folder.path(), deed);
            assert!(output.status.success(), "{kind} {deed}: {output:?}");
        }
        // Tried by code that has another way: refused without an end.
        let output = does(kind, folder.path(), "a-file-in-memory");
        assert_eq!(output.status.code(), Some(3), "{kind}: {output:?}");
    }
    // It is the filter that kills: without it the same calls only fail, or do what they do.
    for deed in ["connect", "ptrace", "bpf", "openat2", "in-another-thread"] {
        let output = does("free", folder.path(), deed);
        assert!(output.status.code().is_some(), "{deed}: {output:?}");
    }
}

#[test]
fn the_worker_may_read_artifacts_and_no_other_file() {
    let folder = folder();
    let output = does("worker", folder.path(), "read-in-the-folder");
    assert!(output.status.success(), "{output:?}");
    for deed in ["read-passwd", "read-own-memory"] {
        let output = does("worker", folder.path(), deed);
        assert_eq!(output.status.code(), Some(3), "{deed}: {output:?}");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("Permission denied"), "{deed}: {said}");
    }
    let output = does("worker", folder.path(), "write-in-the-folder");
    assert!(dies_by_the_filter(&output), "{output:?}");
    let kept = std::fs::read_to_string(folder.path().join("artifact")).unwrap();
    assert_eq!(kept, "native code");
}

#[test]
fn the_compile_child_may_open_nothing_at_all() {
    let folder = folder();
    for deed in [
        "read-passwd",
        "read-own-memory",
        "read-in-the-folder",
        "write-in-the-folder",
    ] {
        let output = does("compile", folder.path(), deed);
        assert_eq!(output.status.code(), Some(3), "{deed}: {output:?}");
    }
}

/// What `/proc` says of each thread of a process.
fn threads(pid: u32) -> Vec<BTreeMap<String, String>> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("status")).ok())
        .map(|status| {
            status
                .lines()
                .filter_map(|line| line.split_once(':'))
                .map(|(key, value)| {
                    let words: Vec<_> = value.split_whitespace().collect();
                    (key.to_owned(), words.join(" "))
                })
                .collect()
        })
        .collect()
}

fn assert_confined(threads: &[BTreeMap<String, String>]) {
    assert!(!threads.is_empty());
    for thread in threads {
        let name = &thread["Name"];
        assert_eq!(thread["Seccomp"], "2", "{name}");
        assert_eq!(thread["NoNewPrivs"], "1", "{name}");
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(thread[set], "0000000000000000", "{name}: {set}");
        }
        // Only root can change users and shrink the bounding set; others have nothing to lose.
        if geteuid().is_root() {
            assert_eq!(thread["CapBnd"], "0000000000000000", "{name}");
            assert_eq!(thread["Uid"], "65530 65530 65530 65530", "{name}");
            assert_eq!(thread["Gid"], "65530 65530 65530 65530", "{name}");
            assert_eq!(thread["Groups"], "", "{name}");
        }
    }
}

#[test]
fn every_thread_of_the_worker_is_confined_and_the_node_says_so() {
    run(async {
        let edge = TestEdge::start().await;
        edge.tenant("acme").await.guest("hello").await;
        assert_eq!(edge.get("hello.acme.test/").await.status(), 200);
        let worker = edge.status().await.worker;
        let threads = threads(worker.pid);
        assert!(threads.len() >= 3, "{threads:?}");
        assert_confined(&threads);
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", worker.pid)).unwrap();
        let core = limits
            .lines()
            .find_map(|line| line.strip_prefix("Max core file size"))
            .unwrap();
        assert_eq!(core.split_whitespace().next(), Some("0"));
        assert_eq!(worker.confinement.filter, "enforced");
        assert!(worker.confinement.landlock_abi > 0);
        assert!(worker.confinement.without_capabilities);
        for barrier in ["filter", "landlock", "user", "capabilities"] {
            let series = format!("littoral_worker_barrier{{barrier=\"{barrier}\"}}");
            assert_eq!(edge.metric(&series).await, 1.0, "{barrier}");
        }
    });
}

#[test]
fn the_compile_child_is_confined_while_it_compiles() {
    run(async {
        let mut edge = TestEdge::build()
            .set("compile.wall_ms_max", 5000)
            .start()
            .await;
        let acme = edge.tenant("acme").await;
        let mut request = acme.request("slow", 1, component("compile-bomb-slow"));
        request.respond_async = true;
        acme.send(&request).await.unwrap();
        let worker = edge.status().await.worker.pid;
        let control = edge.control();
        let confined = until("the compile child has a filter", async || {
            let children = control.children();
            let child = children.into_iter().find(|child| *child != worker)?;
            let threads = threads(child);
            let filtered = |thread: &BTreeMap<_, _>| thread["Seccomp"] == "2";
            (!threads.is_empty() && threads.iter().all(filtered)).then_some(threads)
        })
        .await;
        assert_confined(&confined);
    });
}

#[test]
fn the_process_that_runs_a_tenants_statements_is_confined() {
    run(async {
        let mut edge = TestEdge::start().await;
        let acme = edge.tenant("acme").await;
        acme.guest("spin5-sql").await;
        let granted = serde_json::json!({"databases": ["default"]});
        acme.grants("spin5-sql", granted).await.unwrap();
        let answer = edge.get("spin5-sql.acme.test/2?sql=SELECT+1+AS+n").await;
        assert_eq!(answer.text(), "n=Value::Integer(1)");
        let worker = edge.status().await.worker.pid;
        let children = edge.control().children();
        let child = children.into_iter().find(|child| *child != worker).unwrap();
        let threads = threads(child);
        assert!(!threads.is_empty());
        for (name, thread) in threads.iter().map(|thread| (&thread["Name"], thread)) {
            assert_eq!(thread["Seccomp"], "2", "{name}");
            assert_eq!(thread["NoNewPrivs"], "1", "{name}");
            for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
                assert_eq!(thread[set], "0000000000000000", "{name}");
            }
        }
    });
}

#[test]
fn an_operator_may_do_with_less_and_is_told_each_time() {
    run(async {
        let edge = TestEdge::build()
            .set("worker.confinement", "off")
            .set("worker.user_id", 0)
            .start()
            .await;
        edge.tenant("acme").await.guest("hello").await;
        assert_eq!(edge.get("hello.acme.test/").await.status(), 200);
        let worker = edge.status().await.worker;
        assert_eq!(worker.confinement.filter, "absent");
        assert_eq!(worker.confinement.landlock_abi, 0);
        for thread in threads(worker.pid) {
            assert_eq!(thread["Seccomp"], "0");
            assert_eq!(thread["CapEff"], "0000000000000000");
            assert_eq!(thread["NoNewPrivs"], "1");
        }
        let log = edge.log();
        assert!(log.contains("worker.confinement is \"off\""), "{log}");

        let edge = TestEdge::build()
            .set("worker.confinement", "log")
            .start()
            .await;
        edge.tenant("acme").await.guest("hello").await;
        assert_eq!(edge.get("hello.acme.test/").await.status(), 200);
        assert_eq!(edge.status().await.worker.confinement.filter, "logged");
        assert!(edge.log().contains("worker.confinement is \"log\""));
    });
}

#[test]
fn a_stack_that_overflows_is_a_trap_and_the_worker_lives() {
    run(async {
        let edge = TestEdge::start().await;
        let acme = edge.tenant("acme").await;
        let before = edge.status().await.worker.pid;
        // In the guest's own code, in frames of many values, from within a host call, and with a host call at the
        // very end of the stack.
        for guest in [
            "recurses-without-end",
            "recurses-with-big-frames",
            "recurses-in-realloc",
            "recurses-into-the-host",
        ] {
            let bytes = component(&format!("hostile/{guest}"));
            acme.version(guest, 1, bytes).await;
            let place = format!("{guest}.acme.test/");
            acme.route(&place, guest, None).await.unwrap();
            let answer = edge.get(&place).await;
            assert_eq!((answer.status(), answer.reason()), (502, "trap"), "{guest}");
        }
        let after = edge.status().await.worker;
        assert_eq!((after.pid, after.restarts), (before, 0));
    });
}

#[test]
fn guests_see_a_clock_of_the_resolution_that_the_node_has() {
    run(async {
        for (us, ns) in [(None, "1000000"), (Some(25_000), "25000000")] {
            let mut node = TestEdge::build();
            if let Some(us) = us {
                node = node.set("worker.guest_clock_resolution_us", us);
            }
            let edge = node.start().await;
            let acme = edge.tenant("acme").await;
            let bytes = component("hostile/measures-the-clock");
            acme.version("clock", 1, bytes).await;
            acme.route("clock.acme.test/", "clock", None).await.unwrap();
            // What the clock says of itself, and the least step that it was seen to make.
            let answer = edge.get("clock.acme.test/").await;
            let said = answer.text();
            assert_eq!(said.split_whitespace().collect::<Vec<_>>(), [ns, ns]);
        }
    });
}

#[test]
fn where_root_may_not_change_users_the_node_serves_and_says_so() {
    if !geteuid().is_root() {
        return;
    }
    run(async {
        // A user namespace in which root is the only user, and root of a service that was left without capabilities.
        let ways: [&[&str]; 2] = [
            &["unshare", "--user", "--map-root-user"],
            &[
                "setpriv",
                "--bounding-set=-all",
                "--inh-caps=-all",
                "--ambient-caps=-all",
            ],
        ];
        for way in ways {
            let edge = TestEdge::build().under(way).start().await;
            edge.tenant("acme").await.guest("hello").await;
            assert_eq!(edge.get("hello.acme.test/").await.status(), 200, "{way:?}");
            let confinement = edge.status().await.worker.confinement;
            assert_eq!(confinement.filter, "enforced", "{way:?}");
            assert_eq!(confinement.user_id, 0, "{way:?}");
            assert!(confinement.without_capabilities, "{way:?}");
            assert!(edge.log().contains("the worker runs as root"), "{way:?}");
            let series = "littoral_worker_barrier{barrier=\"user\"}";
            assert_eq!(edge.metric(series).await, 0.0);
        }
    });
}

#[test]
fn a_tenant_in_whose_guest_the_worker_dies_is_named_and_rests_after_the_second_time() {
    run(async {
        let edge = TestEdge::build().set("http.threads", 1).start().await;
        let limits = json!({"request_deadline_ms_max": 60_000});
        let bad = edge.tenant_limited("bad", limits).await;
        let good = edge.tenant("good").await;
        bad.guest("spins-forever").await;
        good.guest("hello").await;
        let mut deaths = 0;
        // A guest that computes gives its thread back every few milliseconds: a signal from outside may come just then,
        // and find nobody running.
        while bad.usage().await.worker_crashes < 2 {
            deaths += 1;
            assert!(deaths <= 10, "no death was in the guest");
            let mut spinning = edge.wire().await;
            spinning
                .try_send("GET / HTTP/1.1\r\nHost: spins-forever.bad.test\r\n\r\n")
                .await
                .unwrap();
            until("the guest runs", async || {
                (bad.usage().await.concurrent_requests == 1).then_some(())
            })
            .await;
            let before = edge.status().await.worker;
            end(before.pid, Signal::SEGV);
            until_within(SOON, "the worker is replaced", async || {
                let worker = edge.status().await.worker;
                (worker.ready && worker.pid != before.pid).then_some(())
            })
            .await;
        }
        let log = edge.log();
        assert!(
            log.contains("the worker crashed in a guest of this tenant"),
            "{log}"
        );
        let refused = edge.get("spins-forever.bad.test/ok").await;
        assert_eq!((refused.status(), refused.reason()), (503, "quarantined"));
        assert!(refused.header("retry-after").is_some());
        assert_eq!(edge.get("hello.good.test/").await.status(), 200);
        let crashes =
            |tenant: &str| format!("littoral_worker_crashes_total{{tenant=\"{tenant}\"}}");
        assert_eq!(edge.metric(&crashes("bad")).await, 2.0);
        assert_eq!(edge.metric(&crashes("good")).await, 0.0);
        assert_eq!(good.usage().await.worker_crashes, 0);
        let told = bad.logs().await;
        assert!(
            told.iter()
                .any(|line| line.text.contains("not served for 60 s")),
            "{told:?}"
        );
        // Whatever restarts the worker, the rest goes on.
        edge.kill_worker().await;
        until("the next worker serves", async || {
            (edge.get("hello.good.test/").await.status() == 200).then_some(())
        })
        .await;
        let refused = edge.get("spins-forever.bad.test/ok").await;
        assert_eq!((refused.status(), refused.reason()), (503, "quarantined"));
    });
}
