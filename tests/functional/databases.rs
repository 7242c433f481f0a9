//! What guests ask of databases elsewhere, in Spin's interfaces: real servers, where a grant leads, within limits.

mod postgres;
mod redis;
mod servers;

use std::fmt::Write as _;

use littoral_tests::{Shared, Tenant, TestEdge, until};

static NODE: Shared = Shared::new();

/// A tenant with both guests, granted this.
async fn asker(edge: &TestEdge, name: &str, grants: serde_json::Value) -> Tenant {
    let tenant = edge.tenant(name).await;
    for guest in ["spin5-asks", "spin7-asks"] {
        tenant.guest(guest).await;
        tenant.grants(guest, grants.clone()).await.unwrap();
    }
    tenant
}

/// What a guest says to `place?address=…&do=…`, line by line; with a status other than 200 why it could not ask.
async fn ask(
    edge: &TestEdge,
    place: &str,
    address: &str,
    script: &[&str],
) -> Result<Vec<String>, String> {
    let (address, script) = (encoded(address), encoded(&script.join("\n")));
    let sign = if place.contains('?') { '&' } else { '?' };
    let answer = edge
        .get(&format!("{place}{sign}address={address}&do={script}"))
        .await;
    match answer.status() {
        200 => Ok(answer.text().lines().map(str::to_owned).collect()),
        418 => Err(answer.text()),
        other => Err(format!("{other}: {}", answer.text())),
    }
}

fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        write!(encoded, "%{byte:02x}").unwrap();
        encoded
    })
}

/// Waits until a tenant's log has a line of the node with this in it.
async fn logged(tenant: &Tenant, text: &str) {
    until(&format!("a line with {text:?}"), async || {
        let lines = tenant.logs().await;
        let mut texts = lines.iter().map(|line| &line.text);
        texts.any(|line| line.contains(text)).then_some(())
    })
    .await;
}
