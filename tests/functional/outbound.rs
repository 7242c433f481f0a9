//! What guests ask of others: nothing without a grant, only where it leads, within limits, and closed with whoever asked.

mod limits;
mod servers;
mod wire;

use littoral_tests::{Shared, Tenant, TestEdge, run, until};
use serde_json::json;

use servers::{Server, answering};

static NODE: Shared = Shared::new();

/// Both generations of `wasi:http`, which send in different ways.
const GUESTS: [&str; 2] = ["calls-out", "calls-out-p3"];

/// A tenant with both guests, granted this.
async fn caller(edge: &TestEdge, name: &str, grants: serde_json::Value) -> Tenant {
    let tenant = edge.tenant(name).await;
    for guest in GUESTS {
        tenant.guest(guest).await;
        tenant.grants(guest, grants.clone()).await.unwrap();
    }
    tenant
}

/// What a guest of a tenant says of a URL.
async fn call(edge: &TestEdge, guest: &str, tenant: &str, url: &str) -> (u16, String) {
    let answer = edge.get(&format!("{guest}.{tenant}.test/?url={url}")).await;
    (answer.status(), answer.text().trim_end().to_owned())
}

fn code(code: &str) -> (u16, String) {
    (502, code.to_owned())
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

#[test]
fn nothing_is_sent_without_a_grant_that_covers_it() {
    run(async {
        let edge = NODE.edge().await;
        let server = Server::start(answering("well met")).await;
        let (url, port) = (server.url("127.0.0.1"), server.port());
        let acme = caller(&edge, "ungranted", json!({})).await;
        for guest in GUESTS {
            assert_eq!(
                call(&edge, guest, "ungranted", &url).await,
                code("HttpRequestDenied")
            );
        }
        logged(
            &acme,
            &format!("denied: no grant of the module covers http://127.0.0.1:{port}"),
        )
        .await;
        for (grant, covered) in [
            (format!("http://127.0.0.1:{port}"), true),
            (format!("http://127.0.0.0/8:{port}"), true),
            ("http://127.0.0.1:*".to_owned(), true),
            (format!("*://127.0.0.1:{port}"), true),
            (format!("http://127.0.0.1:{}", port - 1), false),
            (format!("https://127.0.0.1:{port}"), false),
            (format!("http://127.0.0.2:{port}"), false),
            (format!("http://*.example.com:{port}"), false),
            ("http://self".to_owned(), false),
        ] {
            for guest in GUESTS {
                acme.grants(guest, json!({"outbound": [grant]}))
                    .await
                    .unwrap();
                let expected = if covered {
                    (200, "well met".to_owned())
                } else {
                    code("HttpRequestDenied")
                };
                assert_eq!(
                    call(&edge, guest, "ungranted", &url).await,
                    expected,
                    "{guest} {grant}"
                );
            }
        }
        // One that is taken back holds at once, connections that were kept included.
        for guest in GUESTS {
            acme.grants(guest, json!({})).await.unwrap();
            assert_eq!(
                call(&edge, guest, "ungranted", &url).await,
                code("HttpRequestDenied")
            );
        }
    });
}

#[test]
fn a_name_leads_to_no_address_that_is_not_public_unless_that_is_granted() {
    run(async {
        let edge = NODE.edge().await;
        let server = Server::start(answering("inside")).await;
        let (url, port) = (server.url("localhost"), server.port());
        let name = format!("http://localhost:{port}");
        let acme = caller(&edge, "named", json!({"outbound": [name]})).await;
        for guest in GUESTS {
            assert_eq!(
                call(&edge, guest, "named", &url).await,
                code("DestinationIpProhibited")
            );
        }
        logged(&acme, "prohibited: localhost leads to ").await;
        assert_eq!(server.connections(), 0);
        for grants in [
            json!({"outbound": [name], "networks": ["127.0.0.0/8"]}),
            json!({"outbound": [name, format!("http://127.0.0.1:{port}")]}),
        ] {
            for guest in GUESTS {
                acme.grants(guest, grants.clone()).await.unwrap();
                assert_eq!(
                    call(&edge, guest, "named", &url).await,
                    (200, "inside".to_owned()),
                    "{guest} {grants}"
                );
            }
        }
        // Everything that may be written and means the same, and what is not public besides.
        let any = json!({"outbound": ["http://*:*"]});
        for guest in GUESTS {
            acme.grants(guest, any.clone()).await.unwrap();
            for host in [
                "127.0.0.1",
                "localhost",
                "localhost.",
                "0.0.0.0",
                "[::1]",
                "[::ffff:127.0.0.1]",
                "169.254.169.254",
                "10.0.0.1",
                "100.64.0.1",
                "[64:ff9b::7f00:1]",
                "[fd00:ec2::254]",
                "224.0.0.1",
            ] {
                let url = format!("http://{host}:{port}/");
                assert_eq!(
                    call(&edge, guest, "named", &url).await,
                    code("DestinationIpProhibited"),
                    "{guest} {host}"
                );
            }
            for host in [
                "no-such-name.invalid",
                "127.1",
                "2130706433",
                "0x7f.1",
                "user@localhost",
            ] {
                let url = format!("http://{host}:{port}/");
                let (status, said) = call(&edge, guest, "named", &url).await;
                assert_ne!(status, 200, "{guest} {host}: {said}");
            }
        }
    });
}

#[test]
fn an_operator_has_networks_that_no_grant_leads_to() {
    run(async {
        let refused = json!(["127.0.0.0/8"]);
        let edge = TestEdge::build()
            .set("outbound.refused_networks", refused)
            .start()
            .await;
        let server = Server::start(answering("never")).await;
        let grants = json!({"outbound": ["http://127.0.0.1:*"], "networks": ["127.0.0.0/8"]});
        let acme = caller(&edge, "acme", grants).await;
        for guest in GUESTS {
            let said = call(&edge, guest, "acme", &server.url("127.0.0.1")).await;
            assert_eq!(said, code("DestinationIpProhibited"), "{guest}");
        }
        logged(&acme, "refused by the node's configuration").await;
        assert_eq!(server.connections(), 0);
    });
}

#[test]
fn redirects_are_the_guests_own_to_follow() {
    run(async {
        let edge = NODE.edge().await;
        let server = Server::start(|_| {
            b"HTTP/1.1 302 Found\r\nLocation: http://10.0.0.1/\r\nContent-Length: 4\r\n\r\nthen"
                .to_vec()
        })
        .await;
        caller(
            &edge,
            "redirected",
            json!({"outbound": ["http://127.0.0.1:*"]}),
        )
        .await;
        for guest in GUESTS {
            let said = call(&edge, guest, "redirected", &server.url("127.0.0.1")).await;
            assert_eq!(said, (302, "then".to_owned()), "{guest}");
        }
    });
}

#[test]
fn what_is_sent_is_what_the_guest_asked_for_and_nothing_of_its_own_request() {
    run(async {
        let edge = NODE.edge().await;
        // Answers with the head that came.
        let server = Server::start(|head| {
            let length = head.len();
            [
                format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").as_bytes(),
                head,
            ]
            .concat()
        })
        .await;
        caller(&edge, "heads", json!({"outbound": ["http://127.0.0.1:*"]})).await;
        let port = server.port();
        for guest in GUESTS {
            let place = format!("{guest}.heads.test/?url=http://127.0.0.1:{port}/a/b?c=d");
            let asked = edge
                .ask("GET", &place)
                .header("authorization", "Bearer secret");
            let answer = asked.header("spin-full-url", "http://forged").send().await;
            let head = answer.text();
            let mut lines: Vec<&str> = head.trim_end().split("\r\n").collect();
            lines.sort_unstable();
            assert_eq!(
                lines,
                ["GET /a/b?c=d HTTP/1.1", &format!("host: 127.0.0.1:{port}")],
                "{guest}"
            );
        }
    });
}

#[test]
fn five_hundred_requests_to_one_origin_open_a_handful_of_connections() {
    run(async {
        let edge = NODE.edge().await;
        let server = Server::start(answering("again")).await;
        let other = Server::start(answering("again")).await;
        let any = json!({"outbound": ["http://127.0.0.1:*"]});
        caller(&edge, "often", any.clone()).await;
        caller(&edge, "rarely", any).await;
        for guest in GUESTS {
            let (server, before) = (&server, server.connections());
            let place = format!("{guest}.often.test/?url={}", server.url("127.0.0.1"));
            let asking = (0..8).map(|_| async {
                for _ in 0..63 {
                    let answer = edge.get(&place).await;
                    assert_eq!((answer.status(), answer.text().as_str()), (200, "again"));
                }
            });
            futures(asking).await;
            let opened = server.connections() - before;
            // As many as were asked for at once at most, of each thread that serves.
            assert!(
                opened <= 16,
                "{guest}: {opened} connections for 504 requests"
            );
        }
        // Nobody has another's connection, whatever is kept.
        for (number, tenant) in ["often", "rarely", "often", "rarely"]
            .into_iter()
            .enumerate()
        {
            let said = call(&edge, "calls-out", tenant, &other.url("127.0.0.1")).await;
            assert_eq!(said.0, 200);
            assert!(other.connections() > number.min(1));
        }
        let used = other.requests_by_connection();
        assert!(used.len() >= 2, "two tenants shared a connection: {used:?}");
        let opened = edge
            .metric("littoral_outbound_connections_total{tenant=\"often\"}")
            .await;
        assert!(opened >= 1.0);
    });
}

/// Runs all of them at once.
async fn futures(all: impl Iterator<Item = impl Future<Output = ()>>) {
    let mut all: Vec<_> = all.map(Box::pin).collect();
    std::future::poll_fn(|cx| {
        all.retain_mut(|one| one.as_mut().poll(cx).is_pending());
        if all.is_empty() {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
}

/// Standard libraries import sockets whether a program uses them or not (componentize-py, for one).
#[test]
fn a_guest_that_imports_sockets_runs_and_connects_where_it_was_granted() {
    run(async {
        let edge = NODE.edge().await;
        let server = Server::start(answering("by hand")).await;
        let port = server.port();
        let acme = edge.tenant("bysocket").await;
        acme.guest("wants-sockets").await;
        let worker = edge.status().await;
        let place = format!("wants-sockets.bysocket.test/?port={port}&host=");
        let named = [format!("tcp://localhost:{port}")];
        let loopback = ["127.0.0.0/8"];
        let mut arrived = 0;
        for (grants, host, expected) in [
            (json!({}), "127.0.0.1", "access-denied\n"),
            (json!({}), "localhost", "access-denied\n"),
            (
                json!({"outbound": ["http://127.0.0.1:*"]}),
                "127.0.0.1",
                "access-denied\n",
            ),
            (
                json!({"outbound": ["tcp://127.0.0.1:1"]}),
                "127.0.0.1",
                "access-denied\n",
            ),
            // Nothing is said of an address that is not public.
            (
                json!({"outbound": ["*://*:*"]}),
                "127.0.0.1",
                "access-denied\n",
            ),
            (
                json!({"outbound": ["*://*:*"]}),
                "localhost",
                "access-denied\n",
            ),
            (json!({"outbound": named}), "localhost", "access-denied\n"),
            // The name is granted, and not what it leads to under another.
            (
                json!({"outbound": named, "networks": loopback}),
                "127.0.0.1",
                "access-denied\n",
            ),
            (
                json!({"outbound": named, "networks": loopback}),
                "localhost",
                "by hand",
            ),
            (
                json!({"outbound": ["*://*:*"], "networks": loopback}),
                "127.0.0.1",
                "by hand",
            ),
            (
                json!({"outbound": [format!("tcp://127.0.0.1:{port}")]}),
                "127.0.0.1",
                "by hand",
            ),
        ] {
            acme.grants("wants-sockets", grants.clone()).await.unwrap();
            let answer = edge.get(&format!("{place}{host}")).await;
            let said = answer.text();
            assert!(said.ends_with(expected), "{grants} {host}: {said}");
            arrived += usize::from(answer.status() == 200);
            until("it arrived", async || {
                (server.connections() == arrived).then_some(())
            })
            .await;
        }
        assert_eq!(arrived, 3);
        until("all are closed with their guests", async || {
            (server.open() == 0).then_some(())
        })
        .await;
        let answer = edge.get("wants-sockets.bysocket.test/?port=1").await;
        assert_eq!(answer.text(), "access-denied\n");
        logged(
            &acme,
            "denied: no grant of the module covers tcp://127.0.0.1:1",
        )
        .await;
        acme.limit(json!({"outbound_at_once_max": 0})).await;
        let answer = edge.get(&format!("{place}127.0.0.1")).await;
        assert_eq!(answer.text(), "new-socket-limit\n");
        // The same worker: nobody was killed for trying.
        let still = edge.status().await;
        assert_eq!(still.worker.restarts, worker.worker.restarts);
    });
}
