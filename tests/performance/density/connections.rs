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

/// What so many connections add to a node of one tenant that has had none but the first few, in MiB.
async fn idle(count: usize, asked: bool) -> f64 {
    let (edge, _) = publish::node(1).await;
    let request = publish::request(0);
    // Whatever the first requests need is there for all.
    drop(open(edge.http(), 200, Some(&request)));
    tokio::time::sleep(REST).await;
    let before = resident(&edge);
    let connections = open(edge.http(), count, asked.then_some(request.as_slice()));
    tokio::time::sleep(REST).await;
    let after = resident(&edge);
    drop(connections);
    after.saturating_sub(before) as f64 / 1024.0
}

/// Memory of idle connections and of waiting guests, each on a node of its own: what was freed would hide what is taken.
pub(crate) async fn measure() -> Part {
    // Some descriptors are in use already, here and in the worker.
    let most = usize::try_from(more_descriptors()).unwrap_or(usize::MAX) - 500;
    let count = most.min(number("CONNECTIONS", 10_000) as usize);
    let silent = idle(count, false).await;
    let asked = idle(count, true).await;
    let (edge, _) = publish::node(1).await;
    let (instances, each_kib) = waiting(&edge).await;
    let mut table = Table::new(&["", "RSS of all processes"]);
    table.row([
        format!("{count} connections, nothing asked"),
        format!("{silent:.1} MiB"),
    ]);
    table.row([
        format!("{count} keep-alive connections, idle after one request each"),
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
            "connections": count,
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
