//! What one of many costs in memory: an instance that is under way, a connection that is idle.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use littoral_tests::measure::{Table, memory_kib, more_descriptors, number, tree};
use littoral_tests::{TestEdge, until};
use serde_json::json;

use crate::Part;
use crate::publish;

/// How long guests wait while memory is looked at.
const WAIT_MS: u64 = 20_000;
/// Of resident memory: until what was begun has come to rest.
const REST: Duration = Duration::from_millis(500);

/// All of the node's processes, resident, in KiB.
fn resident(edge: &TestEdge) -> u64 {
    memory_kib(&tree(edge.pid()), "VmRSS")
}

/// Opens so many connections, each with one request answered, or none asked.
fn open(address: SocketAddr, count: usize, request: Option<&[u8]>) -> Vec<TcpStream> {
    let mut answer = [0; 4096];
    let one = |_| {
        let mut stream = TcpStream::connect(address).expect("the node accepts");
        if let Some(request) = request {
            stream.write_all(request).expect("the node reads");
            // The guest's answer comes in one piece or two: it is not read to its end.
            let count = stream.read(&mut answer).expect("the node answers");
            let whole = answer[..count].starts_with(b"HTTP/1.1 200");
            assert!(whole, "{}", String::from_utf8_lossy(&answer[..count]));
        }
        stream
    };
    (0..count).map(one).collect()
}

/// Memory of idle connections, then of waiting guests, on a node of one tenant.
pub(crate) async fn measure() -> Part {
    let (edge, _) = publish::node(1).await;
    // Some descriptors are in use already, here and in the worker.
    let most = usize::try_from(more_descriptors()).unwrap_or(usize::MAX) - 500;
    let idle = most.min(number("CONNECTIONS", 10_000) as usize);
    let request = publish::request(0);
    // Whatever the first requests need is there for all.
    drop(open(edge.http(), 200, Some(&request)));
    tokio::time::sleep(REST).await;

    let before = resident(&edge);
    let silent = open(edge.http(), idle, None);
    tokio::time::sleep(REST).await;
    let with_silent = resident(&edge);
    drop(silent);
    tokio::time::sleep(REST).await;
    let between = resident(&edge);
    let asked = open(edge.http(), idle, Some(&request));
    tokio::time::sleep(REST).await;
    let with_asked = resident(&edge);
    drop(asked);

    let (instances, each_kib) = waiting(&edge).await;
    let mib = |after: u64, before: u64| after.saturating_sub(before) as f64 / 1024.0;
    let (silent, asked) = (mib(with_silent, before), mib(with_asked, between));
    let mut table = Table::new(&["", "RSS of all processes"]);
    table.row([
        format!("{idle} connections, nothing asked"),
        format!("{silent:.1} MiB"),
    ]);
    table.row([
        format!("{idle} keep-alive connections, idle after one request each"),
        format!("{asked:.1} MiB"),
    ]);
    table.row([
        format!("an instance, of {instances} that wait at once"),
        format!("{each_kib:.1} KiB"),
    ]);
    Part {
        name: "connections",
        text: table.text().to_owned(),
        json: json!({
            "connections": idle,
            "silent_mib": silent,
            "asked_mib": asked,
            "instances": instances,
            "instance_kib": each_kib,
        }),
        pictures: Vec::new(),
    }
}

/// How many instances wait at once, and what one costs beyond its connection, in KiB.
async fn waiting(edge: &TestEdge) -> (usize, f64) {
    let count = number("INSTANCES", 1000) as usize;
    let tenant = edge.tenant("waiting").await;
    tenant.guest("waits").await;
    let host = "waits.waiting.test";
    assert_eq!(edge.get(&format!("{host}/?ms=0")).await.status(), 200);
    let quick = format!("GET /?ms=0 HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let mut connections = open(edge.http(), count, Some(quick.as_bytes()));
    tokio::time::sleep(REST).await;
    let before = resident(edge);
    let slow = format!("GET /?ms={WAIT_MS} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    for connection in &mut connections {
        connection
            .write_all(slow.as_bytes())
            .expect("the node reads");
    }
    until("all guests wait", async || {
        (edge.status().await.worker.instances >= count as u64).then_some(())
    })
    .await;
    tokio::time::sleep(REST).await;
    let after = resident(edge);
    (count, after.saturating_sub(before) as f64 / count as f64)
}
