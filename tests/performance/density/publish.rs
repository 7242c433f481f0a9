//! Tenants by the thousand, published the way publishers do it.
//!
//! Each component has to be compiled, so ten thousand take a quarter of an hour: what was published is kept under
//! `target/density`, by the daemon that did it, and the next run starts from there.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use control_api::client::{Client, UploadAnswer};
use control_api::keypair::PrivateKey;
use control_api::view::{Precondition, TenantWrite};
use littoral_tests::{Tenant, TestEdge, component, digest, littorald, with_section};
use tokio::task::JoinSet;

/// Uploads at once: the compiler takes one at a time, what comes before and after it goes on beside.
const AT_ONCE: usize = 6;
/// A tenant's part that takes longer than this is a failure.
const ONE_MAX: Duration = Duration::from_secs(120);

/// The host of a tenant, by rank.
pub(crate) fn host(rank: usize) -> String {
    format!("t{rank:05}.test")
}

/// A GET of the tenant of this rank.
pub(crate) fn request(rank: usize) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", host(rank)).into_bytes()
}

/// A node with this many tenants, each with a component of its own, started just now; and how long starting took.
pub(crate) async fn node(count: usize) -> (TestEdge, Duration) {
    let kept = kept();
    let have = largest(&kept, count);
    let builder = configured();
    if let Some(have) = have {
        let data = builder.home().join("data");
        copy(&kept.join(have.to_string()), &data).expect("what was kept can be read");
    }
    let began = Instant::now();
    let mut edge = builder.start().await;
    let took = began.elapsed();
    if have == Some(count) {
        return (edge, took);
    }
    publish(edge.client(), have.unwrap_or(0)..count).await;
    edge.stop().await;
    let _ = std::fs::create_dir_all(&kept);
    copy(&edge.data(), &kept.join(count.to_string())).expect("what was published can be kept");
    let began = Instant::now();
    edge.start_again().await;
    (edge, began.elapsed())
}

/// Limits that do not come into play, budgets that do.
fn configured() -> littoral_tests::Builder {
    TestEdge::build()
        .under(&["/usr/bin/setpriv", "--pdeathsig", "KILL", "--"])
        .set("memory.code_mib_max", 128)
        .set("http.connections_max", 100_000)
        .set("http.client_connections_max", 100_000)
        // What is idle here is meant to be.
        .set("http.header_read_timeout_ms", 3_600_000)
        .set("uploads.concurrent_max", AT_ONCE)
        .set("compile.queue_max", 1024)
        .set("limits.concurrent_requests_max", 1000)
        .set("limits.connections_max", 100_000)
        .set("limits.requests_per_s_max", 1_000_000)
        .set("limits.requests_burst_max", 1_000_000)
        .set("limits.request_deadline_ms_max", 120_000)
        .set("limits.response_head_ms_max", 120_000)
        .set("limits.memory_mib_max", 1_000_000)
}

/// Where what this daemon published is kept. `KEPT` names another daemon's, where the two understand each other's data.
fn kept() -> PathBuf {
    // …/target/<profile>/littorald
    let target = littorald().ancestors().nth(2).expect("two folders deep");
    let folder = target.join("density");
    let name = std::env::var("KEPT").unwrap_or_else(|_| {
        let binary = std::fs::read(littorald()).expect("the daemon is there");
        let digest = digest(&binary).to_string();
        let hex = digest.rsplit(':').next().unwrap_or_default();
        hex.chars().take(16).collect()
    });
    println!(
        "published nodes are kept in {} of {}",
        name,
        folder.display()
    );
    folder.join(name)
}

/// The largest that is kept, of at most so many tenants.
fn largest(kept: &Path, most: usize) -> Option<usize> {
    let nodes = std::fs::read_dir(kept).into_iter().flatten().flatten();
    let counts = nodes.filter_map(|node| node.file_name().to_str()?.parse::<usize>().ok());
    counts.filter(|count| *count <= most).max()
}

/// Copies a stopped node's data. Not by links: a node takes an artifact that has a second name for a forged one.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::create_dir_all(to)?;
    std::fs::set_permissions(to, std::fs::metadata(from)?.permissions())?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (old, new) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy(&old, &new)?;
        } else if kind.is_file() {
            std::fs::copy(&old, &new)?;
        }
    }
    Ok(())
}

/// How many artifacts a node had to compile again: none, or what was measured is not what it should be.
pub(crate) fn compiled_again(edge: &TestEdge) -> usize {
    edge.log().matches("compiling an artifact again").count()
}

async fn publish(client: &Client, ranks: std::ops::Range<usize>) {
    let began = Instant::now();
    let key = Arc::new(PrivateKey::generate().expect("a key"));
    let hello = component("hello");
    let count = ranks.len();
    let mut under_way = JoinSet::new();
    let mut done = 0;
    for rank in ranks {
        if under_way.len() == AT_ONCE {
            under_way
                .join_next()
                .await
                .expect("some are under way")
                .expect("no panic");
            done += 1;
            if done % 500 == 0 {
                println!("published {done} of {count} in {:?}", began.elapsed());
            }
        }
        let (client, key) = (client.clone(), Arc::clone(&key));
        let bytes = with_section(&hello, &host(rank));
        under_way.spawn(async move {
            let one = one(&client, key, rank, bytes);
            tokio::time::timeout(ONE_MAX, one)
                .await
                .expect("a tenant is published within its time");
        });
    }
    while let Some(done) = under_way.join_next().await {
        done.expect("no panic");
    }
    println!("published {count} in {:?}", began.elapsed());
}

async fn one(client: &Client, key: Arc<PrivateKey>, rank: usize, bytes: bytes::Bytes) {
    let name: edge_config::TenantName = format!("t{rank:05}").parse().expect("a tenant name");
    let settings = TenantWrite::default();
    let put = client.put_tenant(&name, &settings, Precondition::None);
    put.await.expect("the tenant is taken");
    let tenant = Tenant::with_key(client.clone(), name, key)
        .await
        .expect("the key is taken");
    match tenant.upload("hello", 1, bytes).await {
        Ok(UploadAnswer::Done { .. }) => {}
        other => panic!("tenant {rank}: {other:?}"),
    }
    let place = format!("{}/", host(rank));
    let route = tenant.route(&place, "hello", None);
    route.await.expect("the route is free");
}
