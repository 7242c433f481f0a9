//! How many instances a box can have: what the doctor says of it, and that it is so where addresses are few.

use std::process::{Command, Output};

use littoral_tests::{TestEdge, foreign, littorald, run, until};
use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};

/// What a process has on boards whose kernels use three levels of page tables (39 bits), in bytes.
const ADDRESSES_39_BITS: u64 = 1 << 39;
/// The instances that must be there at once.
const INSTANCES: usize = 1_000;

/// Runs the doctor, with so many addresses where that is given.
fn doctor(config: &str, addresses_max: Option<u64>, arguments: &[&str]) -> Output {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("littoral.toml");
    std::fs::write(&path, config).unwrap();
    let limit = addresses_max.map(ulimit).unwrap_or_default();
    Command::new("/bin/sh")
        .args(["-c", &format!("{limit}exec \"$0\" \"$@\"")])
        .arg(littorald())
        .args(["doctor", "--config", path.to_str().unwrap()])
        .args(arguments)
        .env_clear()
        .output()
        .unwrap()
}

fn report(config: &str, addresses_max: Option<u64>) -> (Option<i32>, Value) {
    let output = doctor(config, addresses_max, &["--json"]);
    let said = String::from_utf8_lossy(&output.stderr);
    let report = serde_json::from_slice(&output.stdout);
    (
        output.status.code(),
        report.unwrap_or_else(|error| panic!("{error}: {said}")),
    )
}

#[test]
fn the_doctor_says_what_the_box_has_and_the_pool_that_follows() {
    let (code, report) = report("[worker]\ninstances_max = 50\n", None);
    assert_eq!(code, Some(0));
    if foreign().is_none() {
        assert_eq!(report["box"]["architecture"], std::env::consts::ARCH);
    }
    let cores = std::thread::available_parallelism().unwrap().get();
    assert_eq!(report["box"]["figures"]["cores"], cores);
    assert!(report["box"]["box_memory_bytes"].as_u64().unwrap() > 64 << 20);
    assert_eq!(report["pool"]["instances_max"], 50);
    assert_eq!(report["pool"]["bound"], "configured");
    let sizes = report["sizes"].as_array().unwrap();
    assert_eq!(sizes[0]["memory_bytes"], 128 << 10);
    assert!(
        sizes
            .iter()
            .all(|row| row["instances"].as_u64() <= Some(50))
    );

    let page = doctor("", None, &[]);
    let text = String::from_utf8(page.stdout).unwrap();
    for words in [
        "vm.max_map_count",
        "reserved addresses",
        "128 KiB",
        "What to change",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[test]
fn the_doctor_refuses_what_the_node_would_refuse() {
    let (code, report) = report(
        "[worker]\ninstances_max = 100000\n",
        Some(ADDRESSES_39_BITS),
    );
    assert_eq!(code, Some(1));
    assert!(report["pool"].is_null());
    let advice = report["advice"].as_array().unwrap();
    assert!(advice[0].as_str().unwrap().contains("worker.instances_max"));
    let output = doctor("[worker]\ninstances_max = 100001\n", None, &[]);
    assert_eq!(output.status.code(), Some(78));
}

#[test]
fn whoever_has_read_enough_of_the_doctor_makes_it_end_quietly() {
    let output = Command::new("/bin/sh")
        .args([
            "-c",
            "{ \"$0\" doctor; echo \"ended with $?\" >&2; } | true",
        ])
        .arg(littorald())
        .env_clear()
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "ended with 0\n");
}

/// Not by pretending: the kernel gives neither control nor worker a page beyond.
#[test]
fn a_thousand_instances_are_served_at_once_in_39_bits_of_addresses() {
    raise_descriptors();
    run(async {
        let config = [
            ("memory.guests_mib_max", json!(4096)),
            ("http.client_connections_max", json!(2 * INSTANCES)),
        ];
        let text: String = config
            .iter()
            .map(|(key, value)| format!("{key} = {value}\n"))
            .collect();
        let (_, report) = report(&text, Some(ADDRESSES_39_BITS));
        assert_eq!(report["pool"]["guard_pages"], false, "{report}");
        assert_eq!(report["pool"]["memory_bytes_max"], 64 << 20);
        assert!(
            report["pool"]["instances_max"].as_u64() >= Some(1_000),
            "{report}"
        );
        assert!(report["pool"]["reserved_bytes"].as_u64() <= Some(ADDRESSES_39_BITS / 2));

        let limited = format!("{}exec \"$0\" \"$@\"", ulimit(ADDRESSES_39_BITS));
        let mut builder = TestEdge::build().under(&["/bin/sh", "-c", &limited]);
        for (key, value) in config {
            builder = builder.set(key, value);
        }
        let edge = builder.start().await;
        let limits = json!({
            "concurrent_requests_max": INSTANCES, "connections_max": 2 * INSTANCES, "memory_mib_max": 4096,
            "request_deadline_ms_max": 600_000, "response_head_ms_max": 600_000, "stream_idle_ms_max": 600_000,
        });
        let many = edge.tenant_limited("many", limits).await;
        many.guest("echo").await;
        many.guest("grows-memory").await;

        // One can grow to nearly all that it may have.
        let large = edge.get("grows-memory.many.test/?mib=60").await;
        assert_eq!(large.text(), "allocated 60 MiB\n");

        // A guest that has half of its body waits for the other half for as long as nobody sends it.
        let mut waiting = Vec::new();
        for number in 0..INSTANCES {
            let mut wire = edge.wire().await;
            let half = format!(
                "POST / HTTP/1.1\r\nHost: echo.many.test\r\nContent-Length: 8\r\n\r\n{number:04}"
            );
            wire.send(half).await;
            waiting.push(wire);
        }
        until("all of them live", async || {
            (edge.status().await.worker.instances == 1_000).then_some(())
        })
        .await;
        for (number, mut wire) in waiting.into_iter().enumerate() {
            wire.send("done").await;
            let answer = wire.answer().await;
            assert_eq!(
                (answer.status(), answer.text()),
                (200, format!("{number:04}done"))
            );
        }
        assert_eq!(edge.status().await.worker.restarts, 0);
    });
}

/// Has the shell limit the addresses of what it starts. An emulator has so few by itself, and could not start if its own
/// were limited.
fn ulimit(bytes: u64) -> String {
    if foreign().is_some() {
        String::new()
    } else {
        format!("ulimit -v {} && ", bytes >> 10)
    }
}

/// A thousand connections of this process's, beside those of other tests.
fn raise_descriptors() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}
