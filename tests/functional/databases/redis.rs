//! `fermyon:spin/redis@2.0.0` and `spin:redis/redis@3.0.0`, against a real Redis.

use littoral_tests::{SOON, TestEdge, run, until, until_within};
use serde_json::json;

use super::servers::{self, Stranger};
use super::{NODE, ask, asker, logged};

const GUESTS: [&str; 2] = ["spin5-asks", "spin7-asks"];

fn loopback() -> serde_json::Value {
    json!({"outbound": ["redis://127.0.0.1:*"]})
}

#[test]
fn every_call_of_both_generations_does_what_redis_does() {
    run(async {
        let Some(server) = servers::redis(None).await else {
            return;
        };
        let edge = NODE.edge().await;
        asker(&edge, "redis", loopback()).await;
        for (number, guest) in GUESTS.into_iter().enumerate() {
            // A database of its own for each.
            let address = format!("redis://:secret@127.0.0.1:{}/{number}", server.port());
            let place = format!("{guest}.redis.test/redis");
            let script = [
                ("get key", "Ok(None)"),
                ("set key value", "Ok(())"),
                ("get key", "Ok(Some(Ok(\"value\")))"),
                ("incr key", "Err(Error::TypeError)"),
                ("incr number", "Ok(1)"),
                ("incr number", "Ok(2)"),
                ("sadd set a b a", "Ok(2)"),
                ("srem set a c", "Ok(1)"),
                ("smembers set", "Ok([\"b\"])"),
                ("smembers nothing", "Ok([])"),
                ("get set", "Err(Error::TypeError)"),
                ("del key number nothing", "Ok(2)"),
                ("publish channel text", "Ok(())"),
                ("execute ECHO i:-7", "Ok([RedisResult::Binary([45, 55])])"),
                ("execute STRLEN set", "Err(Error::TypeError)"),
                ("execute SET a b", "Ok([RedisResult::Status(\"OK\")])"),
                ("execute INCRBY n i:5", "Ok([RedisResult::Int64(5)])"),
                (
                    "execute MGET a nothing",
                    "Ok([RedisResult::Binary([98]), RedisResult::Nil])",
                ),
                (
                    "execute EVAL return{1,{2,'x'}} 0",
                    "Ok([RedisResult::Int64(1), RedisResult::Int64(2), RedisResult::Binary([120])])",
                ),
            ];
            let lines: Vec<&str> = script.iter().map(|(line, _)| *line).collect();
            let said = ask(&edge, &place, &address, &lines).await.unwrap();
            for ((line, expected), said) in script.iter().zip(&said) {
                assert_eq!(said, expected, "{guest}: {line}");
            }
            assert_eq!(said.len(), script.len());
            let said = ask(
                &edge,
                &place,
                &address,
                &[
                    "execute NONSENSE",
                    "execute subscribe a",
                    "execute SET a",
                    "get a",
                ],
            );
            let said = said.await.unwrap();
            assert!(said[0].contains("unknown command"), "{said:?}");
            assert!(said[1].contains("is not offered"), "{said:?}");
            assert!(said[2].contains("wrong number of arguments"), "{said:?}");
            assert_eq!(said[3], "Ok(Some(Ok(\"b\")))");
        }
    });
}

#[test]
fn a_guest_is_there_as_the_user_that_its_address_names() {
    run(async {
        let Some(server) = servers::redis(None).await else {
            return;
        };
        let edge = NODE.edge().await;
        let acme = asker(&edge, "redisusers", loopback()).await;
        let port = server.port();
        for guest in GUESTS {
            let place = format!("{guest}.redisusers.test/redis");
            let who = ["execute ACL WHOAMI"];
            for (user, expected) in [("a:b", [97].as_slice()), (":secret", b"default")] {
                let address = format!("redis://{user}@127.0.0.1:{port}");
                let said = ask(&edge, &place, &address, &who).await.unwrap();
                assert_eq!(
                    said,
                    [format!("Ok([RedisResult::Binary({expected:?})])")],
                    "{user}"
                );
            }
            let wrong = format!("redis://a:wrong@127.0.0.1:{port}");
            let said = ask(&edge, &place, &wrong, &who).await.unwrap_err();
            assert!(said.contains("the server refuses: WRONGPASS"), "{said}");
            let nobody = format!("redis://127.0.0.1:{port}");
            let said = ask(&edge, &place, &nobody, &["get a"]).await.unwrap();
            assert!(said[0].contains("NOAUTH"), "{said:?}");
            for address in ["", "localhost", "http://127.0.0.1", "redis://127.0.0.1/x"] {
                let said = ask(&edge, &place, address, &["get a"]).await;
                assert_eq!(said, Err("Error::InvalidAddress".to_owned()), "{address}");
            }
        }
        logged(&acme, "invalid: not an address: ").await;
        let lines = acme.logs().await;
        assert!(!lines.iter().any(|line| line.text.contains("wrong")));
    });
}

#[test]
fn connections_are_used_again_by_the_same_module_alone_and_only_as_they_were() {
    run(async {
        let Some(server) = servers::redis(None).await else {
            return;
        };
        let edge = NODE.edge().await;
        let one = asker(&edge, "redisone", loopback()).await;
        asker(&edge, "redistwo", loopback()).await;
        let address = format!("redis://:secret@127.0.0.1:{}", server.port());
        let id = ["execute CLIENT ID", "get a"];
        let plain = ["get a"];
        // CLIENT leaves a connection as it is not to be kept: the number of connections ever made is asked for instead.
        let made = async || {
            let said = ask(
                &edge,
                "spin5-asks.redistwo.test/redis",
                &address,
                &["execute INFO stats"],
            );
            let said = said.await.unwrap();
            let bytes = said[0]
                .split_once("Binary([")
                .unwrap()
                .1
                .trim_end_matches("])])");
            let text: Vec<u8> = bytes
                .trim_end_matches([']', ')'])
                .split(", ")
                .map(|one| one.parse().unwrap())
                .collect();
            let text = String::from_utf8(text).unwrap();
            let (_, rest) = text.split_once("total_connections_received:").unwrap();
            rest.lines().next().unwrap().parse::<u64>().unwrap()
        };
        let before = made().await;
        for _ in 0..50 {
            for guest in GUESTS {
                let place = format!("{guest}.redisone.test/redis");
                ask(&edge, &place, &address, &plain).await.unwrap();
            }
        }
        // Two modules, and as many threads as serve them.
        let after = made().await;
        assert!(
            after - before <= 8,
            "{} connections for 100 requests",
            after - before
        );
        // The other tenant's are its own: it never sees a number of these.
        let mut seen = std::collections::HashSet::new();
        for tenant in ["redisone", "redistwo"].repeat(4) {
            let place = format!("spin5-asks.{tenant}.test/redis");
            let said = ask(&edge, &place, &address, &id).await.unwrap();
            assert!(
                seen.insert(said[0].clone()),
                "{} again after CLIENT",
                said[0]
            );
        }
        // What a guest leaves undone is nobody else's: a transaction that was begun is gone.
        let place = "spin5-asks.redisone.test/redis";
        let said = ask(
            &edge,
            place,
            &address,
            &["execute MULTI", "execute SET left undone"],
        )
        .await;
        assert_eq!(
            said.unwrap(),
            [
                "Ok([RedisResult::Status(\"OK\")])",
                "Ok([RedisResult::Status(\"QUEUED\")])"
            ]
        );
        for _ in 0..4 {
            let said = ask(&edge, place, &address, &["get left"]).await.unwrap();
            assert_eq!(said, ["Ok(None)"]);
        }
        // Grants that are taken away take what was kept with them.
        one.grants("spin5-asks", json!({})).await.unwrap();
        let said = ask(&edge, place, &address, &plain).await.unwrap_err();
        assert!(
            said.contains("no grant of the module covers redis://127.0.0.1:"),
            "{said}"
        );
    });
}

#[test]
fn what_is_kept_unused_is_closed() {
    run(async {
        let Some(server) = servers::redis(None).await else {
            return;
        };
        let edge = NODE.edge().await;
        asker(&edge, "redisidle", loopback()).await;
        asker(&edge, "redislooks", loopback()).await;
        let address = format!("redis://:secret@127.0.0.1:{}", server.port());
        for guest in GUESTS {
            let place = format!("{guest}.redisidle.test/redis");
            ask(&edge, &place, &address, &["get a"]).await.unwrap();
        }
        // One a line, `id=` first; this guest's own is never kept.
        let open = async || {
            let place = "spin5-asks.redislooks.test/redis";
            let said = ask(&edge, place, &address, &["execute CLIENT LIST"]).await;
            let lines = said.unwrap().remove(0);
            lines.matches("105, 100, 61, ").count()
        };
        assert!(open().await >= 2);
        until_within(SOON * 2, "they are closed", async || {
            (open().await == 1).then_some(())
        })
        .await;
    });
}

#[test]
fn several_calls_of_a_guest_on_one_connection_take_turns() {
    run(async {
        let Some(server) = servers::redis(None).await else {
            return;
        };
        let edge = NODE.edge().await;
        asker(&edge, "redistogether", loopback()).await;
        let address = format!("redis://:secret@127.0.0.1:{}", server.port());
        let place = "spin7-asks.redistogether.test/redis?together=incr%20turns";
        let mut said = ask(&edge, place, &address, &[]).await.unwrap();
        said.sort_unstable();
        assert_eq!(said, ["Ok(1)", "Ok(2)", "Ok(3)", "Ok(4)"]);
    });
}

#[test]
fn nothing_is_reached_without_a_grant_and_no_private_address_by_a_name() {
    run(async {
        let stranger = Stranger::saying(Vec::new(), b"").await;
        let edge = NODE.edge().await;
        let acme = asker(&edge, "redisdenied", json!({})).await;
        let port = stranger.port();
        let by_address = format!("redis://:secret@127.0.0.1:{port}");
        let by_name = format!("redis://:secret@localhost:{port}");
        for guest in GUESTS {
            let place = format!("{guest}.redisdenied.test/redis");
            for (grants, address, expected) in [
                (
                    json!({}),
                    &by_address,
                    "no grant of the module covers redis://127.0.0.1:",
                ),
                (
                    json!({"outbound": ["http://127.0.0.1:*", "rediss://127.0.0.1:*"]}),
                    &by_address,
                    "no grant of the module covers redis://127.0.0.1:",
                ),
                (
                    json!({"outbound": ["redis://127.0.0.1"]}),
                    &by_address,
                    "no grant of the module covers redis://127.0.0.1:",
                ),
                (
                    json!({"outbound": ["redis://localhost:*"]}),
                    &by_name,
                    "it leads to no address that is allowed",
                ),
                (
                    json!({"outbound": ["*://*:*"]}),
                    &by_address,
                    "it leads to no address that is allowed",
                ),
            ] {
                acme.grants(guest, grants.clone()).await.unwrap();
                let said = ask(&edge, &place, address, &["get a"]).await.unwrap_err();
                assert!(
                    said.contains(expected) && !said.contains("secret"),
                    "{grants}: {said}"
                );
            }
        }
        assert_eq!(stranger.connections(), 0);
        logged(
            &acme,
            "denied: no grant of the module covers redis://127.0.0.1:",
        )
        .await;
        logged(&acme, "prohibited: localhost leads to ").await;
        // With the network named, the name leads there.
        let Some(server) = servers::redis(None).await else {
            return;
        };
        let named = json!({"outbound": ["redis://localhost:*"], "networks": ["127.0.0.0/8"]});
        for guest in GUESTS {
            acme.grants(guest, named.clone()).await.unwrap();
            let place = format!("{guest}.redisdenied.test/redis");
            let address = format!("redis://:secret@localhost:{}", server.port());
            let said = ask(&edge, &place, &address, &["get a"]).await;
            assert_eq!(said, Ok(vec!["Ok(None)".to_owned()]));
        }
    });
}

#[test]
fn a_server_that_is_away_hangs_or_talks_nonsense_is_said_to() {
    run(async {
        let edge = NODE.edge().await;
        let acme = asker(&edge, "redisill", loopback()).await;
        let silent = Stranger::saying(Vec::new(), b"").await;
        let web = Stranger::saying(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), b"").await;
        let claims = Stranger::saying(b"$9223372036854775807\r\n".to_vec(), b"").await;
        let nested = Stranger::saying(b"*9\r\n".repeat(1000), b"*9\r\n").await;
        let endless = Stranger::saying(b"$-1".to_vec(), b"1").await;
        let worker = edge.status().await.worker.restarts;
        acme.limit(json!({"outbound_ms_max": 300, "outbound_received_kib_max": 1024}))
            .await;
        for guest in GUESTS {
            let place = format!("{guest}.redisill.test/redis");
            for (port, expected) in [
                (silent.port(), "the server did not answer within 300 ms"),
                (web.port(), "what came is no answer of a Redis server"),
                (claims.port(), "the answer has more than 1048576 bytes"),
                (nested.port(), "the answer has more than 1048576 bytes"),
                (endless.port(), "what came is no answer of a Redis server"),
            ] {
                let address = format!("redis://127.0.0.1:{port}");
                let said = ask(&edge, &place, &address, &["get a", "get a"])
                    .await
                    .unwrap();
                assert!(said[0].contains(expected), "{guest}: {said:?}");
                assert!(
                    said[1].contains("was closed with an earlier call"),
                    "{guest}: {said:?}"
                );
            }
            let said = ask(&edge, &place, "redis://127.0.0.1:1", &["get a"]).await;
            assert_eq!(
                said,
                Err("Error::Other(\"the connection was refused\")".to_owned())
            );
            let said = ask(&edge, &place, "redis://no-such-name.invalid", &["get a"]).await;
            assert!(said.unwrap_err().contains("no grant"));
        }
        for text in [
            "timeout: the server did not answer within 300 ms",
            "protocol: what came is no answer of a Redis server",
            "too-large: the answer has more than 1048576 bytes",
            "unreachable: the connection was refused by 127.0.0.1:1",
        ] {
            logged(&acme, text).await;
        }
        // A guest that is ended, or whose client goes, leaves no connection.
        acme.limit(json!({"request_deadline_ms_max": 300, "response_head_ms_max": 300}))
            .await;
        for guest in GUESTS {
            let place = format!("{guest}.redisill.test/redis");
            let address = format!("redis://127.0.0.1:{}", silent.port());
            let said = ask(&edge, &place, &address, &["get a"]).await.unwrap_err();
            assert!(said.starts_with("504: "), "{said}");
        }
        for stranger in [&silent, &web, &claims, &nested, &endless] {
            until("all connections are closed", async || {
                (stranger.open() == 0).then_some(())
            })
            .await;
        }
        assert_eq!(edge.status().await.worker.restarts, worker);
    });
}

#[test]
fn a_server_that_dies_while_a_connection_is_kept_is_found_out_and_not_asked_twice() {
    run(async {
        let Some(mut server) = servers::redis(None).await else {
            return;
        };
        let edge = NODE.edge().await;
        asker(&edge, "redisdies", loopback()).await;
        let address = format!("redis://:secret@127.0.0.1:{}", server.port());
        for guest in GUESTS {
            let place = format!("{guest}.redisdies.test/redis");
            ask(&edge, &place, &address, &["get a"]).await.unwrap();
        }
        server.kill();
        for guest in GUESTS {
            let place = format!("{guest}.redisdies.test/redis");
            until("it is noticed", async || {
                let said = ask(&edge, &place, &address, &["get a"]).await;
                (said == Err("Error::Other(\"the connection was refused\")".to_owned()))
                    .then_some(())
            })
            .await;
        }
    });
}

#[test]
fn what_a_call_moves_and_how_many_connections_there_are_is_bounded() {
    run(async {
        let Some(server) = servers::redis(None).await else {
            return;
        };
        let edge = NODE.edge().await;
        let acme = asker(&edge, "redisbounds", loopback()).await;
        let address = format!("redis://:secret@127.0.0.1:{}", server.port());
        acme.limit(json!({"outbound_sent_kib_max": 8, "outbound_received_kib_max": 4}))
            .await;
        for guest in GUESTS {
            let place = format!("{guest}.redisbounds.test/redis");
            let script = [
                "fill small 1000",
                "get small",
                "fill large 9000",
                "fill large 8000",
                "get large",
                "get small",
            ];
            let said = ask(&edge, &place, &address, &script).await.unwrap();
            assert_eq!(said[0], "Ok(())", "{guest}");
            assert!(said[1].contains("xxx"), "{guest}");
            assert!(said[2].contains("bytes; allowed: 8192"), "{}", said[2]);
            assert_eq!(said[3], "Ok(())", "{guest}");
            assert!(said[4].contains("more than 4096 bytes"), "{}", said[4]);
            assert!(
                said[5].contains("was closed with an earlier call"),
                "{}",
                said[5]
            );
            let place = format!("{place}?open=");
            let many = "Error::TooManyConnections".to_owned();
            assert!(
                ask(&edge, &format!("{place}16"), &address, &[])
                    .await
                    .is_ok()
            );
            let said = ask(&edge, &format!("{place}17"), &address, &[]).await;
            assert_eq!(said, Err(many.clone()), "{guest}");
        }
        logged(
            &acme,
            "limit: the guest has 16 connections to databases open",
        )
        .await;
        acme.limit(json!({"outbound_per_request_max": 2})).await;
        for guest in GUESTS {
            let place = format!("{guest}.redisbounds.test/redis?open=");
            assert!(
                ask(&edge, &format!("{place}2"), &address, &[])
                    .await
                    .is_ok()
            );
            let said = ask(&edge, &format!("{place}3"), &address, &[]).await;
            assert_eq!(said, Err("Error::TooManyConnections".to_owned()), "{guest}");
        }
        acme.limit(json!({"outbound_at_once_max": 1})).await;
        for guest in GUESTS {
            let place = format!("{guest}.redisbounds.test/redis?open=");
            assert!(
                ask(&edge, &format!("{place}1"), &address, &[])
                    .await
                    .is_ok()
            );
            let said = ask(&edge, &format!("{place}2"), &address, &[]).await;
            assert_eq!(said, Err("Error::TooManyConnections".to_owned()), "{guest}");
        }
        let moved = "littoral_outbound_connections_total{tenant=\"redisbounds\"}";
        assert!(edge.metric(moved).await >= 1.0);
    });
}

#[test]
fn rediss_is_spoken_with_whom_the_node_believes_and_with_nobody_else() {
    run(async {
        let known = servers::certificate("localhost");
        let Some(server) = servers::redis(Some(&known)).await else {
            return;
        };
        let Some(unknown) = servers::redis(Some(&servers::certificate("localhost"))).await else {
            return;
        };
        let builder = TestEdge::build();
        let file = builder.home().join("authorities.pem");
        std::fs::write(&file, known.0).unwrap();
        let files = json!([file.to_str().unwrap()]);
        let edge = builder.set("outbound.ca_files", files).start().await;
        let granted = json!({"outbound": ["rediss://localhost:*"], "networks": ["127.0.0.0/8"]});
        let acme = asker(&edge, "acme", granted).await;
        for guest in GUESTS {
            let place = format!("{guest}.acme.test/redis");
            let address =
                |server: &servers::Real| format!("rediss://:secret@localhost:{}", server.port());
            for _ in 0..2 {
                let said = ask(&edge, &place, &address(&server), &["incr in.secret"]).await;
                assert!(said.unwrap()[0].starts_with("Ok("), "{guest}");
            }
            let said = ask(&edge, &place, &address(&unknown), &["get a"]).await;
            assert!(
                said.unwrap_err().contains("its certificate is refused"),
                "{guest}"
            );
        }
        logged(&acme, "tls: its certificate is refused: ").await;
    });
}
