//! What comes from others need not be HTTP, nor TLS with whom it should be.

use littoral_tests::{TestEdge, run, until};
use serde_json::json;

use super::servers::{Server, answering};
use super::{GUESTS, NODE, call, caller, code, logged};

#[test]
fn each_fault_of_an_upstream_has_its_code() {
    run(async {
        let edge = NODE.edge().await;
        let acme = caller(&edge, "faults", json!({"outbound": ["http://127.0.0.1:*"]})).await;
        let garbage = Server::flooding(b"SSH-2.0-OpenSSH_9.9\r\n\r\n", b"").await;
        let headers =
            Server::flooding(b"HTTP/1.1 200 OK\r\n", b"x-again: and again and again\r\n").await;
        let half =
            Server::start(|_| b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf".to_vec()).await;
        let gone = {
            let server = Server::start(answering("gone")).await;
            server.url("127.0.0.1")
        };
        until("nobody listens there", async || {
            let said = call(&edge, "calls-out", "faults", &gone).await;
            (said == code("ConnectionRefused")).then_some(())
        })
        .await;
        acme.limit(json!({"outbound_ms_max": 2000})).await;
        for guest in GUESTS {
            let said = call(&edge, guest, "faults", &garbage.url("127.0.0.1")).await;
            assert_eq!(said, code("HttpProtocolError"), "{guest}");
            let said = call(&edge, guest, "faults", &headers.url("127.0.0.1")).await;
            let too_large = said.1.starts_with("HttpResponseHeaderSectionSize");
            assert!(said.0 == 502 && too_large, "{guest}: {said:?}");
            assert_eq!(
                call(&edge, guest, "faults", &gone).await,
                code("ConnectionRefused")
            );
            let place = format!("{guest}.faults.test/?url={}", half.url("127.0.0.1"));
            let answer = edge.get(&place).await;
            assert!(
                !answer.whole || answer.status() == 502,
                "{guest}: {answer:?}"
            );
        }
        for reason in ["protocol: ", "too-large: ", "unreachable: ", "timeout: "] {
            logged(&acme, reason).await;
        }
        for outcome in ["protocol", "too-large", "unreachable"] {
            let series = format!(
                "littoral_outbound_requests_total{{tenant=\"faults\",outcome=\"{outcome}\"}}"
            );
            until(&series, async || {
                (edge.metric(&series).await >= 2.0).then_some(())
            })
            .await;
        }
    });
}

#[test]
fn a_server_that_closes_kept_connections_is_asked_on_new_ones() {
    run(async {
        let edge = NODE.edge().await;
        caller(&edge, "fickle", json!({"outbound": ["http://127.0.0.1:*"]})).await;
        let server = Server::fickle("once").await;
        for guest in GUESTS {
            for number in 0..50 {
                let said = call(&edge, guest, "fickle", &server.url("127.0.0.1")).await;
                assert_eq!(said, (200, "once".to_owned()), "{guest} {number}");
            }
        }
    });
}

#[test]
fn tls_is_believed_only_with_a_certificate_of_the_name_that_was_asked_for() {
    run(async {
        let (server, authority) = Server::start_tls("localhost", "in secret").await;
        let (unknown, _) = Server::start_tls("localhost", "in secret").await;
        let (other, other_authority) = Server::start_tls("elsewhere.test", "in secret").await;
        let plain = Server::saying(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        let builder = TestEdge::build();
        let file = builder.home().join("authorities.pem");
        std::fs::write(&file, authority + &other_authority).unwrap();
        let files = json!([file.to_str().unwrap()]);
        let edge = builder.set("outbound.ca_files", files).start().await;
        let grants = json!({"outbound": ["https://localhost:*"], "networks": ["127.0.0.0/8"]});
        let acme = caller(&edge, "acme", grants).await;
        let url = |server: &Server| format!("https://localhost:{}/", server.port());
        for guest in GUESTS {
            for _ in 0..2 {
                let said = call(&edge, guest, "acme", &url(&server)).await;
                assert_eq!(said, (200, "in secret".to_owned()), "{guest}");
            }
            for wrong in [&unknown, &other] {
                let said = call(&edge, guest, "acme", &url(wrong)).await;
                assert_eq!(said, code("TlsCertificateError"), "{guest}");
            }
            let said = call(&edge, guest, "acme", &url(&plain)).await;
            assert_eq!(said, code("TlsProtocolError"), "{guest}");
        }
        logged(&acme, "tls: its certificate is refused: NotValidForName").await;
        // All that this authority would have signed is called alike.
        logged(&acme, "tls: its certificate is refused: BadSignature").await;
    });
}
