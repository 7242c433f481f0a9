//! HTTP/2: what a client sees of guests, and what either side's windows do to the other.

use std::time::Duration;

use bytes::Bytes;
use littoral_tests::http2::{Http2, get, post, whole};
use littoral_tests::{Authority, TestEdge, component, run, until};
use serde_json::json;

use crate::tenant;

const HELLO: &str = "Hello from the edge!\n";

#[test]
fn one_connection_carries_the_requests_of_many() {
    run(async {
        let (edge, acme) = tenant("h2-many", &["hello", "hello-p3", "streams", "cgi"]).await;
        acme.limit(json!({ "concurrent_requests_max": 60, "waiting_requests_max": 60 }))
            .await;
        let mut client = Http2::to(edge.http()).await;
        let mut under_way = Vec::new();
        for number in 0..60 {
            let guest = ["hello", "hello-p3"][number % 2];
            let ask = get(&format!("{guest}.h2-many.test/"));
            under_way.push(client.begin(ask, true).await.unwrap());
        }
        for exchange in under_way {
            let (head, body) = exchange.answer.await.unwrap().into_parts();
            let answer = whole(head, body).await;
            assert_eq!((answer.status(), answer.text().as_str()), (200, HELLO));
        }
        let streamed = client.get("streams.h2-many.test/trailers?kib=300").await;
        assert!(streamed.whole);
        assert_eq!(streamed.body.len(), 300 << 10);
        assert_eq!(streamed.trailer("x-body-bytes"), Some("307200"));
        let told = client.get("cgi.h2-many.test/?env").await;
        assert!(told.text().contains("SERVER_PROTOCOL=HTTP/2.0"), "{told:?}");
        let unknown = client.get("nobody.test/").await;
        assert_eq!((unknown.status(), unknown.reason()), (404, "no-route"));
        // A guest may have something to do after its last byte.
        until("all places are given back", async || {
            (acme.usage().await.concurrent_requests == 0).then_some(())
        })
        .await;
    });
}

#[test]
fn a_piece_comes_back_before_the_next_is_sent_and_trailers_behind_them() {
    run(async {
        let (edge, _) = tenant("h2-pieces", &["echo", "echo-p3"]).await;
        let mut client = Http2::to(edge.http()).await;
        for guest in ["echo", "echo-p3"] {
            let ask = post(&format!("{guest}.h2-pieces.test/")).header("trailer", "x-sum");
            let mut exchange = client.begin(ask, false).await.unwrap();
            let first = Bytes::from_static(b"first");
            exchange.body.send_data(first, false).unwrap();
            let mut answer = exchange.answer.await.unwrap();
            assert_eq!(answer.status(), 200, "{guest}");
            let mut came = Vec::new();
            while came.len() < 5 {
                came.extend(answer.body_mut().data().await.unwrap().unwrap());
            }
            assert_eq!(came, b"first", "{guest}");
            let second = Bytes::from_static(b"second");
            exchange.body.send_data(second, false).unwrap();
            let mut trailers = http::HeaderMap::new();
            trailers.insert("x-sum", http::HeaderValue::from_static("11"));
            exchange.body.send_trailers(trailers).unwrap();
            let (head, body) = answer.into_parts();
            let rest = whole(head, body).await;
            assert_eq!(rest.text(), "second", "{guest}");
            assert_eq!(rest.trailer("x-sum"), Some("11"), "{guest}");
        }
    });
}

#[test]
fn a_guest_sees_one_authority_and_one_cookie_field() {
    run(async {
        let (edge, acme) = tenant("h2-seen", &["inspect-request"]).await;
        let mut client = Http2::to(edge.http()).await;
        let host = "inspect-request.h2-seen.test";
        let ask = get(&format!("{host}/a?b"))
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .header("te", "trailers")
            .header("x-forwarded-for", "evil");
        let exchange = client.begin(ask, true).await.unwrap();
        let (head, body) = exchange.answer.await.unwrap().into_parts();
        let seen = whole(head, body).await.json();
        assert_eq!(seen["authority"], host);
        assert_eq!(seen["path_with_query"], "/a?b");
        let values = |name: &str| -> Vec<_> {
            let fields = seen["headers"].as_array().unwrap().iter();
            let named = fields.filter(|field| field[0] == name);
            named.map(|field| field[1].as_str().unwrap()).collect()
        };
        assert_eq!(values("cookie"), ["a=1; b=2"]);
        assert_eq!(values("x-forwarded-for"), ["127.0.0.1"]);
        assert!(values("te").is_empty());
        // The same in another word is the same; another host is none that could be meant.
        for (said, status) in [(host.to_uppercase(), 200), ("other.test".to_owned(), 400)] {
            let ask = get(&format!("{host}/")).header("host", said);
            let exchange = client.begin(ask, true).await.unwrap();
            assert_eq!(exchange.answer.await.unwrap().status(), status);
        }
        assert_eq!(acme.usage().await.requests, 2);
    });
}

#[test]
fn a_client_that_reads_nothing_stops_that_guest_alone() {
    run(async {
        let (edge, acme) = tenant("h2-stalled", &["streams", "hello"]).await;
        acme.limit(json!({
            "response_body_kib_max": 1 << 20, "request_deadline_ms_max": 60_000,
            "stream_idle_ms_max": 60_000,
        }))
        .await;
        // Room for others on the connection: what all streams may take together is the client's own affair.
        let mut settings = h2::client::Builder::new();
        settings.initial_connection_window_size(1 << 20);
        let mut client = Http2::with(edge.http(), &settings).await;
        let ask = get("streams.h2-stalled.test/endless?chunk=65536");
        let mut exchange = client.begin(ask, true).await.unwrap();
        let mut stalled = exchange.answer.await.unwrap();
        let mut last = u64::MAX;
        let mut same = 0;
        let sent = until("the guest sends no more", async || {
            let sent = acme.usage().await.response_body_bytes;
            same = if sent == last { same + 1 } else { 0 };
            last = sent;
            (sent > 0 && same >= 20).then_some(sent)
        })
        .await;
        println!("{sent} bytes were on their way to a client that read none");
        // The client's window and what hyper, h2 and the guest may hold; no socket takes part in it.
        assert!(sent < 1 << 20, "{sent} bytes");
        assert_eq!(client.get("hello.h2-stalled.test/").await.text(), HELLO);
        let mut taken = 0;
        while taken < sent + (1 << 20) {
            let piece = stalled.body_mut().data().await.unwrap().unwrap();
            taken += piece.len() as u64;
            let flow = stalled.body_mut().flow_control();
            flow.release_capacity(piece.len()).unwrap();
        }
        // A client that resets a stream ends its guest, and no other.
        exchange.body.send_reset(h2::Reason::CANCEL);
        until("the guest is gone", async || {
            (acme.usage().await.concurrent_requests == 0).then_some(())
        })
        .await;
        assert_eq!(client.get("hello.h2-stalled.test/").await.text(), HELLO);
    });
}

#[test]
fn a_guest_that_reads_nothing_stops_that_stream_alone() {
    run(async {
        let (edge, acme) = tenant("h2-unread", &["reads-slowly", "echo"]).await;
        acme.limit(json!({
            "request_deadline_ms_max": 60_000, "stream_idle_ms_max": 60_000,
            "response_head_ms_max": 60_000, "request_body_kib_max": 1 << 20,
        }))
        .await;
        let mut client = Http2::to(edge.http()).await;
        let ask = post("reads-slowly.h2-unread.test/?ms=50000");
        let mut unread = client.begin(ask, false).await.unwrap();
        let chunk = Bytes::from_static(&[b'x'; 16 << 10]);
        let mut sent = 0;
        // Capacity for the stream is what the node lets be sent.
        loop {
            unread.body.reserve_capacity(chunk.len());
            let more = std::future::poll_fn(|cx| unread.body.poll_capacity(cx));
            let more = tokio::time::timeout(Duration::from_millis(500), more).await;
            let Ok(Some(Ok(more))) = more else { break };
            sent += more;
            unread
                .body
                .send_data(chunk.slice(..more.min(chunk.len())), false)
                .unwrap();
            assert!(sent < 1 << 20, "{sent} bytes were taken of nobody");
        }
        println!("{sent} bytes were sent to a guest that reads none");
        assert!(sent >= 64 << 10, "{sent}");
        let body = vec![b'y'; 300_000];
        let mut other = client
            .begin(post("echo.h2-unread.test/"), false)
            .await
            .unwrap();
        other.body.send_data(body.clone().into(), true).unwrap();
        let (head, answer) = other.answer.await.unwrap().into_parts();
        assert_eq!(whole(head, answer).await.body, body);
    });
}

#[test]
fn heads_and_streams_have_bounds() {
    run(async {
        let (edge, acme) = tenant("h2-bounds", &["hello"]).await;
        acme.limit(json!({ "concurrent_requests_max": 200 })).await;
        let mut client = Http2::to(edge.http()).await;
        let place = "hello.h2-bounds.test/";
        for (ask, status) in [
            (get(place).header("x-long", "a".repeat(60 << 10)), 200),
            (get(place).header("x-long", "a".repeat(66 << 10)), 431),
            (get(place).header("x-long", "a".repeat(80 << 10)), 431),
        ] {
            let exchange = client.begin(ask, true).await.unwrap();
            assert_eq!(exchange.answer.await.unwrap().status(), status);
        }
        for (count, status) in [(100, 200), (101, 431)] {
            let mut ask = get(place);
            for number in 0..count {
                ask = ask.header(format!("x-{number}"), "a");
            }
            let exchange = client.begin(ask, true).await.unwrap();
            assert_eq!(exchange.answer.await.unwrap().status(), status, "{count}");
        }
    });
}

#[test]
fn a_connection_without_a_stream_is_closed_in_time() {
    run(async {
        let edge = TestEdge::build()
            .set("http.header_read_timeout_ms", 300)
            .start()
            .await;
        let acme = edge.tenant("idle").await;
        acme.guest("waits").await;
        let mut client = Http2::to(edge.http()).await;
        // Longer than the timeout: a connection with a stream is no idle one.
        let answer = client.get("waits.idle.test/?ms=700").await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
        client.connection.await.unwrap().unwrap();
        // One that says only that it would speak is closed as well.
        let mut wire = edge.wire().await;
        wire.begin_frames().await;
        wire.rest().await;
    });
}

#[test]
fn a_node_that_stops_finishes_streams_and_says_that_it_takes_no_more() {
    run(async {
        let mut edge = TestEdge::start().await;
        let acme = edge.tenant("drained").await;
        acme.guest("echo").await;
        let mut client = Http2::to(edge.http()).await;
        let ask = post("echo.drained.test/");
        let mut under_way = client.begin(ask, false).await.unwrap();
        let first = Bytes::from_static(b"first");
        under_way.body.send_data(first, false).unwrap();
        let answer = under_way.answer.await.unwrap();
        let (stopped, ()) = tokio::join!(edge.stop(), async {
            // GOAWAY: what is asked now is not taken, what was asked goes on.
            until("no more is taken", async || {
                let ask = get("echo.drained.test/");
                match client.begin(ask, true).await {
                    Err(_) => Some(()),
                    Ok(exchange) => exchange.answer.await.err().map(|_| ()),
                }
            })
            .await;
            let second = Bytes::from_static(b"second");
            under_way.body.send_data(second, true).unwrap();
            let (head, body) = answer.into_parts();
            let rest = whole(head, body).await;
            assert!(rest.whole);
            assert_eq!(rest.text(), "firstsecond");
        });
        assert!(stopped.success());
    });
}

#[test]
fn a_stream_without_an_answer_when_the_drain_time_is_over_is_refused() {
    run(async {
        let mut edge = TestEdge::build()
            .set("http.drain_ms_max", 500)
            .start()
            .await;
        edge.tenant("late").await.guest("waits").await;
        let mut client = Http2::to(edge.http()).await;
        let ask = get("waits.late.test/?ms=8000");
        let under_way = client.begin(ask, true).await.unwrap();
        until("it is under way", async || {
            (edge.status().await.worker.instances == 1).then_some(())
        })
        .await;
        edge.control().tell_to_stop();
        let answer = under_way.answer.await.unwrap();
        assert_eq!(answer.status(), 503);
        assert_eq!(answer.headers()["x-littoral-reason"], "draining");
        assert!(edge.control().wait().await.success());
    });
}

#[test]
fn over_tls_it_is_agreed_upon_and_other_names_are_misdirected() {
    run(async {
        let edge = TestEdge::build()
            .set("https.listen", json!(["127.0.0.1:0"]))
            .start()
            .await;
        let (authority, https) = (Authority::new(), edge.https().await);
        for name in ["h2-acme", "h2-other"] {
            let tenant = edge.tenant(name).await;
            tenant
                .version("site", 1, component("inspect-request"))
                .await;
            for host in ["", "www."] {
                let route = format!("{host}{name}.test/");
                tenant.route(&route, "site", None).await.unwrap();
            }
            let issued = authority.issue(&[&format!("{name}.test")]);
            tenant.certificate("one", &issued).await.unwrap();
        }
        let connect = async |protocols: &[&[u8]]| {
            let mut client = authority.client();
            client.config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
            client.connect(https, "h2-acme.test").await.unwrap()
        };
        let session = connect(&[b"h2", b"http/1.1"]).await;
        assert_eq!(session.alpn.as_deref(), Some(b"h2".as_slice()));
        let mut client = Http2::over(session.wire.into_stream(), &h2::client::Builder::new()).await;
        let answer = client.get("h2-acme.test/").await;
        assert_eq!(answer.json()["scheme"], "https");
        // Of the same tenant without a certificate, of another tenant, of nobody.
        for name in ["www.h2-acme.test", "h2-other.test", "nobody.test"] {
            let answer = client.get(&format!("{name}/")).await;
            assert_eq!(
                (answer.status(), answer.reason()),
                (421, "misdirected"),
                "{name}"
            );
        }
        for protocols in [[b"http/1.1".as_slice()].as_slice(), &[]] {
            let mut session = connect(protocols).await;
            assert_eq!(session.get("h2-acme.test/").await.status(), 200);
        }
    });
}
