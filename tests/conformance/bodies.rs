//! Bodies in both directions, of both versions of WASI HTTP.

use littoral_tests::{TestEdge, Wire, run};

use crate::tenant;

const ECHOES: [(&str, &str); 3] = [("echo", "/"), ("echo-p3", "/"), ("echo-p3", "/pass")];

async fn echo(edge: &TestEdge, site: &str, path: &str, fields: &str, body: &[u8]) -> Wire {
    let mut wire = edge.wire().await;
    wire.send(format!(
        "POST {path} HTTP/1.1\r\nHost: {site}.test\r\n{fields}\r\n"
    ))
    .await;
    wire.send(body).await;
    wire
}

#[test]
fn bodies_with_a_length_come_back_byte_for_byte() {
    run(async {
        let (edge, _) = tenant("lengths", &["echo", "echo-p3"]).await;
        for (guest, path) in ECHOES {
            for length in [0_usize, 1, 4095, 65_536, 1 << 20] {
                let body: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
                let place = format!("{guest}.lengths.test{path}");
                let answer = edge
                    .ask("POST", &place)
                    .header("Content-Type", "x/y")
                    .body(body.clone())
                    .send()
                    .await;
                assert_eq!(
                    (answer.status(), answer.whole),
                    (200, true),
                    "{place} {length}"
                );
                assert_eq!(
                    answer.header("content-type"),
                    Some("x/y"),
                    "{place} {length}"
                );
                assert!(
                    answer.body == body,
                    "{place} {length}: {} bytes came back",
                    answer.body.len()
                );
            }
        }
    });
}

#[test]
fn chunked_bodies_come_back_and_chunk_extensions_do_not() {
    run(async {
        let (edge, _) = tenant("chunked", &["echo", "echo-p3"]).await;
        for (guest, path) in ECHOES {
            let chunks = b"5;ext=\"x\"\r\nabcde\r\n1\r\nf\r\n00A\r\n0123456789\r\n0\r\n\r\n";
            let site = format!("{guest}.chunked");
            let mut wire = echo(&edge, &site, path, "Transfer-Encoding: chunked\r\n", chunks).await;
            let answer = wire.answer().await;
            assert_eq!(
                (answer.status(), answer.text().as_str()),
                (200, "abcdef0123456789"),
                "{guest}{path}"
            );
        }
    });
}

#[test]
fn trailers_travel_both_ways() {
    run(async {
        let (edge, _) = tenant("trailers", &["echo", "echo-p3", "streams"]).await;
        for (guest, path) in ECHOES {
            let site = format!("{guest}.trailers");
            let fields = "TE: trailers\r\nTrailer: x-sum\r\nTransfer-Encoding: chunked\r\n";
            let mut wire = echo(
                &edge,
                &site,
                path,
                fields,
                b"3\r\nabc\r\n0\r\nX-Sum: 42\r\n\r\n",
            )
            .await;
            let answer = wire.answer().await;
            assert_eq!(
                (answer.text().as_str(), answer.trailer("x-sum")),
                ("abc", Some("42")),
                "{guest}{path}"
            );
        }
        let place = "streams.trailers.test/trailers?kib=4";
        let answer = edge.ask("GET", place).header("TE", "trailers").send().await;
        assert_eq!(
            (answer.trailer("x-body-bytes"), answer.trailer("x-guest")),
            (Some("4096"), Some("streams"))
        );
    });
}

#[test]
fn a_client_that_expects_100_gets_it_when_the_guest_reads() {
    run(async {
        let (edge, _) = tenant("expects", &["echo", "echo-p3", "hello", "reads-slowly"]).await;
        // This one reads all before it answers, so that the 100 must come.
        let fields = "Expect: 100-continue\r\nContent-Length: 5\r\n";
        let mut wire = echo(&edge, "reads-slowly.expects", "/?ms=1", fields, b"").await;
        assert_eq!(wire.head().await.status, 100);
        wire.send("hello").await;
        let answer = wire.answer().await;
        assert_eq!(answer.status(), 200);
        assert!(answer.text().starts_with("5 bytes"), "{}", answer.text());
        for (guest, path) in ECHOES {
            let site = format!("{guest}.expects");
            let fields = "Expect: 100-continue\r\nContent-Length: 5\r\n";
            let mut wire = echo(&edge, &site, path, fields, b"").await;
            let mut head = wire.head().await;
            // A guest may answer its head before it reads: the 100 comes before it or not at all.
            if head.status == 100 {
                wire.send("hello").await;
                head = wire.head().await;
            } else {
                wire.send("hello").await;
            }
            let answer = wire.body(head).await;
            assert_eq!(
                (answer.status(), answer.text().as_str()),
                (200, "hello"),
                "{guest}{path}"
            );
        }
        // A guest that never reads: the body is not asked for.
        let mut wire = echo(
            &edge,
            "hello.expects",
            "/",
            "Expect: 100-continue\r\nContent-Length: 5\r\n",
            b"",
        )
        .await;
        assert_eq!(wire.head().await.status, 200);
        // Too much is refused before it is sent.
        let mut wire = echo(
            &edge,
            "echo.expects",
            "/",
            "Expect: 100-continue\r\nContent-Length: 9999999\r\n",
            b"",
        )
        .await;
        assert_eq!(wire.head().await.status, 413);
    });
}

#[test]
fn an_answer_of_a_declared_length_has_it_and_any_other_is_chunked() {
    run(async {
        let (edge, _) = tenant("declared", &["streams"]).await;
        let answer = edge.get("streams.declared.test/?kib=100&chunk=1000").await;
        assert_eq!(
            (answer.header("transfer-encoding"), answer.body.len()),
            (Some("chunked"), 100 << 10)
        );
        assert!(
            answer.whole
                && answer
                    .body
                    .iter()
                    .enumerate()
                    .all(|(at, byte)| usize::from(*byte) == at % 251)
        );
        // Refusals know theirs.
        let refusal = edge.get("nowhere.test/").await;
        assert_eq!(
            refusal.header("content-length"),
            Some(refusal.body.len().to_string().as_str())
        );
    });
}

#[test]
fn a_guest_that_leaves_the_body_unread_answers_all_the_same() {
    run(async {
        let (edge, _) = tenant("unread", &["hello", "hello-p3"]).await;
        for guest in ["hello", "hello-p3"] {
            let answer = edge
                .ask("POST", &format!("{guest}.unread.test/"))
                .body(vec![0; 200_000])
                .send()
                .await;
            assert_eq!(
                (answer.status(), answer.text().as_str()),
                (200, "Hello from the edge!\n"),
                "{guest}"
            );
        }
    });
}
