//! Log lines: a list, a stream, a stream taken up again.

use std::sync::atomic::Ordering;

use control_api::auth::Scope;
use control_api::client::Client;
use edge_config::TenantName;
use serde_json::Value;
use tokio::time::timeout;

use crate::support::{NOW, PATIENCE, Setup, TestNode, refused};

async fn node_with_lines(count: usize) -> (TestNode, TenantName) {
    node_with_lines_and(count, Setup::default()).await
}

async fn node_with_lines_and(count: usize, setup: Setup) -> (TestNode, TenantName) {
    let node = TestNode::start_with(setup).await;
    let acme = node.tenant("acme").await;
    for number in 1..=count {
        node.plane.write_line(&acme, &format!("line {number}"));
    }
    (node, acme)
}

#[tokio::test]
async fn the_newest_lines_come_oldest_first() {
    let (node, acme) = node_with_lines(5).await;
    let body: Value = node
        .get("/v1/tenants/acme/logs?limit=2")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let texts: Vec<_> = body["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line["text"].as_str().unwrap())
        .collect();
    assert_eq!(texts, ["line 4", "line 5"]);
    let lines = node.client().logs(&acme, Some(3), 100).await.unwrap();
    assert_eq!(
        lines.iter().map(|line| line.seq).collect::<Vec<_>>(),
        [4, 5]
    );
}

#[tokio::test]
async fn a_stream_begins_with_the_ring_and_goes_on() {
    let (node, acme) = node_with_lines(2).await;
    let mut follower = node.client().follow_logs(&acme, None, 100).await.unwrap();
    let mut next = async || {
        timeout(PATIENCE, follower.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap()
    };
    assert_eq!(next().await.text, "line 1");
    assert_eq!(next().await.text, "line 2");
    node.plane.write_line(&acme, "data: not\na field");
    let line = next().await;
    assert_eq!((line.seq, line.text.as_str()), (3, "data: not\na field"));
}

#[tokio::test]
async fn events_carry_their_sequence_number_and_resume_from_it() {
    let (node, _) = node_with_lines(3).await;
    let mut answer = node
        .get("/v1/tenants/acme/logs?follow=true&after=0")
        .header("last-event-id", "2")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let chunk = timeout(PATIENCE, answer.chunk())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    let text = String::from_utf8(chunk.to_vec()).unwrap();
    let (id, data) = text.trim_end().split_once('\n').unwrap();
    assert_eq!(id, "id: 3");
    let line: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(line["text"], "line 3");
    let odd = node
        .get("/v1/tenants/acme/logs?follow=true")
        .header("last-event-id", "x");
    refused(odd, 400, "header-invalid").await;
}

#[tokio::test]
async fn streams_are_bounded_and_their_places_given_back() {
    let (node, acme) = node_with_lines_and(
        1,
        Setup {
            change_api: |api| api.log_followers_of_tenant_max = 2,
            ..Setup::default()
        },
    )
    .await;
    let client = node.client();
    let first = client.follow_logs(&acme, None, 1).await.unwrap();
    let _second = client.follow_logs(&acme, None, 1).await.unwrap();
    let third = client.follow_logs(&acme, None, 1).await.unwrap_err();
    let problem = third.problem().unwrap();
    assert_eq!(problem.kind().unwrap().slug(), "followers-busy");
    drop(first);
    // The node notices a client that left when it next writes.
    timeout(PATIENCE, async {
        while client.follow_logs(&acme, None, 1).await.is_err() {
            node.plane.write_line(&acme, "is anybody there?");
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_stream_ends_with_its_token() {
    let (node, acme) = node_with_lines(1).await;
    let token = node.token(&[Scope::Read], Some("acme"));
    // Valid for one more second, as far as the node can tell.
    node.now.store(NOW + 600 + 29, Ordering::Relaxed);
    let client = Client::new(&node.url(""), Some(token)).unwrap();
    let mut follower = client.follow_logs(&acme, None, 100).await.unwrap();
    assert!(follower.next().await.unwrap().is_some());
    let end = timeout(PATIENCE, follower.next()).await.unwrap().unwrap();
    assert_eq!(end, None);
}

#[tokio::test]
async fn a_stream_does_not_hold_up_the_nodes_end() {
    let (node, acme) = node_with_lines(1).await;
    let mut follower = node.client().follow_logs(&acme, None, 100).await.unwrap();
    assert!(follower.next().await.unwrap().is_some());
    assert_eq!(node.plane.log_streams(&acme), 1);
    let plane = node.plane.clone();
    node.stop().await;
    assert_eq!(follower.next().await.unwrap(), None);
    assert_eq!(plane.log_streams(&acme), 0);
}
