//! Receipts of what tenants used: signed, rising over restarts, and no less after a crash than was said before it.

use std::process::Output;

use control_api::auth::Scope;
use control_api::receipt::verify;
use control_api::view::{Precondition, Receipt};
use littoral_tests::{Tenant, TestEdge, cli, refusal, run, until};
use serde_json::Value;

async fn littoral(edge: &TestEdge, arguments: &[&str]) -> Output {
    let mut command = std::process::Command::new(cli());
    command
        .env_clear()
        .env("LITTORAL_ADMIN", edge.admin())
        .env("LITTORAL_TOKEN", edge.token(&[Scope::NodeAdmin], None))
        .args(arguments);
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

async fn receipt(edge: &TestEdge, tenant: &Tenant) -> Receipt {
    edge.client().receipt(tenant.name()).await.unwrap()
}

/// Has the guest asked so many times.
async fn ask(edge: &TestEdge, times: u64) {
    for _ in 0..times {
        assert_eq!(edge.get("remembers.acme.test/").await.status(), 200);
    }
}

/// The worker reports once a second: waits until it has reported so many requests.
async fn receipt_of(edge: &TestEdge, tenant: &Tenant, requests: u64) -> Receipt {
    until("the requests are counted", async || {
        let given = receipt(edge, tenant).await;
        assert!(given.usage.requests <= requests, "{given:?}");
        (given.usage.requests == requests).then_some(given)
    })
    .await
}

#[test]
fn receipts_rise_over_restarts_and_crashes_and_are_of_one_key() {
    run(async {
        let mut edge = TestEdge::start().await;
        let acme = edge.tenant("acme").await;
        acme.guest("remembers").await;
        acme.instances("remembers", serde_json::json!({"mode": "reuse"}))
            .await
            .unwrap();
        let first = receipt(&edge, &acme).await;
        assert_eq!((first.usage.serial, first.usage.requests), (1, 0));
        ask(&edge, 60).await;
        let second = receipt_of(&edge, &acme, 60).await;
        assert!(second.usage.response_body_bytes > 0, "{second:?}");
        assert!(second.usage.cpu_ms > 0, "{second:?}");
        assert_eq!(verify(&second.receipt, &first.key).unwrap(), second.usage);

        // What was said is there after a crash; what was used since, and nobody has a receipt of, may not be.
        ask(&edge, 3).await;
        edge.kill_control();
        edge.control().wait().await;
        edge.start_again().await;
        let third = receipt(&edge, &acme).await;
        assert!(third.usage.requests >= 60 && third.usage.serial > second.usage.serial);
        assert!(third.usage.cpu_ms >= second.usage.cpu_ms);
        assert!(third.usage.memory_mib_s >= second.usage.memory_mib_s);
        verify(&third.receipt, &first.key).unwrap();

        // A node that stops as it was told to counts and writes what was used until then.
        let before = third.usage.requests;
        ask(&edge, 4).await;
        edge.restart().await;
        let fourth = receipt(&edge, &acme).await;
        assert_eq!(fourth.usage.requests, before + 4);
        assert_eq!(fourth.usage.since, first.usage.since);

        // One of the same name is another tenant.
        edge.client()
            .delete_tenant(acme.name(), Precondition::None)
            .await
            .unwrap();
        assert_eq!(
            refusal(edge.client().receipt(acme.name()).await),
            "tenant-not-found"
        );
        let again = edge.tenant("acme").await;
        let fresh = receipt(&edge, &again).await.usage;
        assert_eq!((fresh.serial, fresh.requests, fresh.cpu_ms), (1, 0, 0));
    });
}

/// An instance that rests is held by its tenant for as long as it rests.
#[test]
fn memory_is_counted_for_as_long_as_it_is_held() {
    run(async {
        let edge = TestEdge::start().await;
        let acme = edge.tenant("acme").await;
        acme.guest("remembers").await;
        acme.instances("remembers", serde_json::json!({"mode": "reuse"}))
            .await
            .unwrap();
        ask(&edge, 1).await;
        let held = until("memory is held", async || {
            let bytes = acme.usage().await.memory_bytes;
            (bytes > 0).then_some(bytes)
        })
        .await;
        // Some seconds of a little more than a MiB.
        let counted = until("memory is counted", async || {
            let counted = receipt(&edge, &acme).await.usage.memory_mib_s;
            (counted >= 2).then_some(counted)
        })
        .await;
        assert!(
            counted <= 60 * held.div_ceil(1 << 20),
            "{counted} of {held}"
        );
    });
}

#[test]
fn what_was_used_since_an_earlier_receipt_is_shown_and_another_nodes_counts_for_nothing() {
    run(async {
        let edge = TestEdge::start().await;
        let acme = edge.tenant("acme").await;
        acme.guest("remembers").await;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("receipt.json");
        let name = file.to_str().unwrap();
        let json = ["--output", "json"];
        let output = littoral(
            &edge,
            &[&["usage", "acme", "--receipt"][..], &json].concat(),
        )
        .await;
        std::fs::write(&file, &output.stdout).unwrap();
        ask(&edge, 3).await;
        receipt_of(&edge, &acme, 3).await;
        let since = ["usage", "acme", "--since", name];
        let output = littoral(&edge, &[&since[..], &json].concat()).await;
        let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(shown["requests"], 3, "{shown}");
        let output = littoral(&edge, &since).await;
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(shown.contains("requests        3"), "{shown}");

        let elsewhere = TestEdge::start().await;
        elsewhere.tenant("acme").await;
        let output = littoral(&elsewhere, &since).await;
        assert_eq!(output.status.code(), Some(4));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("the receipt proves nothing"), "{said}");
        let tampered = std::fs::read_to_string(&file).unwrap();
        let tampered = tampered.replacen("\"receipt\": \"ey", "\"receipt\": \"eZ", 1);
        std::fs::write(&file, tampered).unwrap();
        let output = littoral(&edge, &since).await;
        assert_eq!(output.status.code(), Some(4));
    });
}
