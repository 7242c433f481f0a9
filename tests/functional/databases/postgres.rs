//! `fermyon:spin/postgres@2.0.0`, `spin:postgres/postgres@3.0.0` and `@4.0.0` with SDK 5, `@4.2.0` with SDK 7, against a real
//! PostgreSQL.

use littoral_tests::{TestEdge, run, until};
use serde_json::json;

use super::servers::{self, Real, Stranger};
use super::{NODE, ask, asker, logged};

/// Every version, by its guest.
const PLACES: [(&str, &str); 4] = [
    ("spin5-asks", "pg2"),
    ("spin5-asks", "pg3"),
    ("spin5-asks", "pg4"),
    ("spin7-asks", "pg"),
];

fn loopback() -> serde_json::Value {
    json!({"outbound": ["postgres://127.0.0.1:*"]})
}

fn address(port: u16) -> String {
    format!("postgres://guest:secret@127.0.0.1:{port}/postgres?sslmode=disable")
}

fn of(server: &Real) -> String {
    address(server.port())
}

/// Types, what is given, and what comes back.
type Trips<'a> = &'a [(&'a str, &'a str, &'a str)];

/// Sends each value to the server as the type that stands beside it, and has it back.
async fn round_trips(edge: &TestEdge, place: &str, address: &str, trips: Trips<'_>) {
    let script: Vec<String> = trips
        .iter()
        .map(|(kind, given, _)| format!("query SELECT $1::{kind} AS v\t{given}"))
        .collect();
    let script: Vec<&str> = script.iter().map(String::as_str).collect();
    let said = ask(edge, place, address, &script).await.unwrap();
    for ((kind, given, expected), said) in trips.iter().zip(&said) {
        let (named, value) = expected.split_once(' ').unwrap();
        let expected = format!("v:DbDataType::{named} [[DbValue::{value}]]");
        assert_eq!(*said, expected, "{place}: {kind} {given}");
    }
    assert_eq!(said.len(), trips.len());
}

/// What all versions have.
const COMMON: Trips<'static> = &[
    ("bool", "bool:true", "Boolean Boolean(true)"),
    ("\"char\"", "str:A", "Int8 Int8(65)"),
    ("int2", "int8:-128", "Int16 Int16(-128)"),
    ("int2", "int16:-32768", "Int16 Int16(-32768)"),
    ("int4", "int32:2147483647", "Int32 Int32(2147483647)"),
    (
        "int8",
        "int64:-9223372036854775808",
        "Int64 Int64(-9223372036854775808)",
    ),
    ("float4", "f32:1.5e-45", "Floating32 Floating32(1e-45)"),
    ("float8", "f64:0.1", "Floating64 Floating64(0.1)"),
    ("float8", "f64:NaN", "Floating64 Floating64(NaN)"),
    ("float8", "f64:-inf", "Floating64 Floating64(-inf)"),
    (
        "text",
        "str:Süß 'n \"quoted\"",
        "Str Str(\"Süß 'n \\\"quoted\\\"\")",
    ),
    ("varchar", "str:", "Str Str(\"\")"),
    ("char(3)", "str:a", "Str Str(\"a  \")"),
    ("bytea", "bytes:ab", "Binary Binary([97, 98])"),
    ("int4", "null", "Int32 DbNull"),
];

const TIMES: Trips<'static> = &[
    ("date", "date:2026,11,25", "Date Date((2026, 11, 25))"),
    ("date", "date:-43,3,15", "Date Date((-43, 3, 15))"),
    ("date", "date:10000,1,1", "Date Date((10000, 1, 1))"),
    (
        "time",
        "time:23,59,59,999999000",
        "Time Time((23, 59, 59, 999999000))",
    ),
    (
        "timestamp",
        "datetime:1999,12,31,23,59,59,1000",
        "Datetime Datetime((1999, 12, 31, 23, 59, 59, 1000))",
    ),
    (
        "timestamptz",
        "timestamp:1790000000",
        "Timestamp Timestamp(1790000000)",
    ),
    ("timestamptz", "timestamp:-1", "Timestamp Timestamp(-1)"),
];

const REST: Trips<'static> = &[
    (
        "uuid",
        "uuid:a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        "Uuid Uuid(\"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11\")",
    ),
    ("jsonb", "jsonb:[1]", "Jsonb Jsonb([91, 49, 93])"),
    (
        "numeric",
        "decimal:-12345678901234567890.000120",
        "Decimal Decimal(\"-12345678901234567890.000120\")",
    ),
    (
        "numeric",
        "decimal:1e20",
        "Decimal Decimal(\"100000000000000000000\")",
    ),
    (
        "int4range",
        "range32:1,5",
        "RangeInt32 RangeInt32((Some((1, RangeBoundKind::Inclusive)), Some((5, RangeBoundKind::Exclusive))))",
    ),
    (
        "int8range",
        "range64:,5",
        "RangeInt64 RangeInt64((None, Some((5, RangeBoundKind::Exclusive))))",
    ),
    (
        "numrange",
        "rangedecimal:0.5,",
        "RangeDecimal RangeDecimal((Some((\"0.5\", RangeBoundKind::Inclusive)), None))",
    ),
    (
        "int4[]",
        "array32:1,x,-3",
        "ArrayInt32 ArrayInt32([Some(1), None, Some(-3)])",
    ),
    (
        "int8[]",
        "array64:9007199254740993",
        "ArrayInt64 ArrayInt64([Some(9007199254740993)])",
    ),
    (
        "numeric[]",
        "arraydecimal:0.10,NULL",
        "ArrayDecimal ArrayDecimal([Some(\"0.10\"), None])",
    ),
    (
        "text[]",
        "arraystr:a\"b,{},NULL",
        "ArrayStr ArrayStr([Some(\"a\\\"b\"), Some(\"{}\"), None])",
    ),
    (
        "interval",
        "interval:-1500000,3,-14",
        "Interval Interval(Interval { micros: -1500000, days: 3, months: -14 })",
    ),
];

#[test]
fn every_type_of_every_version_goes_there_and_comes_back() {
    run(async {
        let Some(server) = servers::postgres(None).await else {
            return;
        };
        let edge = NODE.edge().await;
        asker(&edge, "pgtypes", loopback()).await;
        let address = of(&server);
        for place in ["pg2", "pg3", "pg4"] {
            let place = format!("spin5-asks.pgtypes.test/{place}");
            round_trips(&edge, &place, &address, COMMON).await;
        }
        let unsigned: Trips<'_> = &[
            ("int2", "uint8:255", "Int16 Int16(255)"),
            ("int4", "uint16:65535", "Int32 Int32(65535)"),
            ("int8", "uint32:4294967295", "Int64 Int64(4294967295)"),
            (
                "uuid",
                "str:a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
                "Other Unsupported",
            ),
        ];
        round_trips(&edge, "spin5-asks.pgtypes.test/pg2", &address, unsigned).await;
        for place in ["pg3", "pg4"] {
            let place = format!("spin5-asks.pgtypes.test/{place}");
            round_trips(&edge, &place, &address, TIMES).await;
        }
        round_trips(&edge, "spin5-asks.pgtypes.test/pg4", &address, REST).await;
        let unknown: Trips<'_> = &[(
            "point",
            "str:(0,0)",
            "Other(\"point\") Unsupported([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])",
        )];
        round_trips(&edge, "spin5-asks.pgtypes.test/pg4", &address, unknown).await;
        let async4: Trips<'_> = &[
            ("int4", "int32:-1", "Int32 Int32(-1)"),
            ("int8", "int64:1", "Int64 Int64(1)"),
            ("text", "str:a", "Str Str(\"a\")"),
            ("numeric", "decimal:0.5", "Decimal Decimal(\"0.5\")"),
            ("numeric", "null", "Decimal DbNull"),
        ];
        round_trips(&edge, "spin7-asks.pgtypes.test/pg", &address, async4).await;
    });
}

#[test]
fn statements_change_rows_give_rows_and_say_what_is_wrong_with_them() {
    run(async {
        let Some(server) = servers::postgres(None).await else {
            return;
        };
        let edge = NODE.edge().await;
        asker(&edge, "pgsql", loopback()).await;
        for (number, (guest, place)) in PLACES.into_iter().enumerate() {
            let table = format!("t{number}");
            let place = format!("{guest}.pgsql.test/{place}");
            // The other form of an address.
            let address = format!(
                "host=127.0.0.1 port={} user=guest password='secret' dbname=postgres sslmode=disable",
                server.port()
            );
            let script = [
                format!("execute CREATE TABLE {table} (id int4 PRIMARY KEY, word text NOT NULL)"),
                format!(
                    "execute INSERT INTO {table} VALUES ($1, $2), (2, 'two')\tint32:1\tstr:one"
                ),
                format!("query SELECT word, id FROM {table} ORDER BY id"),
                format!("query SELECT id FROM {table} WHERE word = $1\tstr:three"),
                format!("execute UPDATE {table} SET word = $1\tstr:' OR 1=1 --"),
                format!("query SELECT DISTINCT word FROM {table}"),
                format!("execute INSERT INTO {table} VALUES (1, 'again')"),
                "query SELEC 1".to_owned(),
                "query SELECT $1::int4\tstr:seven".to_owned(),
                "query SELECT 1\tint32:1".to_owned(),
                "query SELECT 'infinity'::timestamptz AS forever".to_owned(),
                format!("query SELECT count(*)::int4 FROM {table}"),
            ];
            let script: Vec<&str> = script.iter().map(String::as_str).collect();
            let said = ask(&edge, &place, &address, &script).await.unwrap();
            let exact = [
                "Ok(0)",
                "Ok(2)",
                "word:DbDataType::Str,id:DbDataType::Int32 [[DbValue::Str(\"one\"), DbValue::Int32(1)], [DbValue::Str(\"two\"), DbValue::Int32(2)]]",
                "id:DbDataType::Int32 []",
                "Ok(2)",
                "word:DbDataType::Str [[DbValue::Str(\"' OR 1=1 --\")]]",
            ];
            assert_eq!(said[..exact.len()], exact, "{place}");
            for (said, code) in said[exact.len()..]
                .iter()
                .zip(["23505", "42601", "22P02", "08P01"])
            {
                assert!(
                    said.contains("QueryFailed") && said.contains(code),
                    "{place}: {said}"
                );
            }
            if place.ends_with("pg2") {
                assert!(
                    said[10].ends_with("[[DbValue::Unsupported]]"),
                    "{}",
                    said[10]
                );
            } else {
                assert!(said[10].contains("ValueConversionFailed"), "{}", said[10]);
                assert!(said[10].contains("column \\\"forever\\\""), "{}", said[10]);
            }
            assert!(said[11].ends_with("[[DbValue::Int32(2)]]"), "{}", said[11]);
            if place.ends_with("pg4") {
                // All that the server says of it, by name.
                for part in [
                    "code: \"23505\"",
                    "severity: \"ERROR\"",
                    "Key (id)=(1) already exists.",
                    "(\"table\", \"t2\")",
                ] {
                    assert!(said[6].contains(part), "{}", said[6]);
                }
            }
        }
    });
}

#[test]
fn a_guest_is_let_in_as_its_address_says_or_told_why_not() {
    run(async {
        let Some(server) = servers::postgres(None).await else {
            return;
        };
        let edge = NODE.edge().await;
        let acme = asker(&edge, "pgusers", loopback()).await;
        let port = server.port();
        let admin = [
            "execute SET password_encryption = 'md5'",
            "execute CREATE USER old PASSWORD 'old'",
        ];
        let place = "spin5-asks.pgusers.test/pg3";
        ask(&edge, place, &of(&server), &admin).await.unwrap();
        for (guest, place) in PLACES {
            let place = format!("{guest}.pgusers.test/{place}");
            for (address, expected) in [
                (
                    format!("postgres://guest:wrong@127.0.0.1:{port}/postgres?sslmode=disable"),
                    "28P01",
                ),
                (
                    format!("postgres://guest@127.0.0.1:{port}/postgres?sslmode=disable"),
                    "asks for a password",
                ),
                (
                    format!("postgres://guest:secret@127.0.0.1:{port}/nowhere?sslmode=disable"),
                    "3D000",
                ),
                (
                    format!("postgres://guest:secret@127.0.0.1:{port}/postgres?sslmode=require"),
                    "the server has none",
                ),
                (
                    format!("postgres://127.0.0.1:{port}/postgres"),
                    "it names no user",
                ),
                ("nonsense".to_owned(), "not an address"),
            ] {
                let said = ask(&edge, &place, &address, &["query SELECT 1"])
                    .await
                    .unwrap_err();
                assert!(
                    said.contains("ConnectionFailed") && said.contains(expected),
                    "{place}: {said}"
                );
            }
            // Without TLS, where none is offered and none was asked for.
            let offered = format!("postgresql://guest:secret@127.0.0.1:{port}/postgres");
            let said = ask(
                &edge,
                &place,
                &offered,
                &["query SELECT current_user::text AS me"],
            )
            .await
            .unwrap();
            assert_eq!(said, ["me:DbDataType::Str [[DbValue::Str(\"guest\")]]"]);
        }
        let lines = acme.logs().await;
        assert!(!lines.iter().any(|line| line.text.contains("wrong")));
    });
}

#[test]
fn a_connection_is_used_again_by_its_module_alone_and_as_if_it_were_new() {
    run(async {
        let Some(server) = servers::postgres(None).await else {
            return;
        };
        let edge = NODE.edge().await;
        asker(&edge, "pgone", loopback()).await;
        asker(&edge, "pgtwo", loopback()).await;
        let address = of(&server);
        let pid = "query SELECT pg_backend_pid() AS pid";
        let mut seen = [
            std::collections::HashSet::new(),
            std::collections::HashSet::new(),
        ];
        for _ in 0..20 {
            for (tenant, seen) in ["pgone", "pgtwo"].into_iter().zip(&mut seen) {
                let place = format!("spin5-asks.{tenant}.test/pg3");
                seen.insert(
                    ask(&edge, &place, &address, &[pid])
                        .await
                        .unwrap()
                        .remove(0),
                );
            }
        }
        assert!(
            seen[0].is_disjoint(&seen[1]),
            "two tenants shared a connection"
        );
        // As many threads as serve them.
        assert!(seen[0].len() <= 4 && seen[1].len() <= 4, "{seen:?}");
        let place = "spin5-asks.pgone.test/pg3";
        let left = [
            "execute SET application_name = 'left'",
            "execute CREATE TEMP TABLE left_behind (id int4)",
            "execute PREPARE mine AS SELECT 1",
        ];
        ask(&edge, place, &address, &left).await.unwrap();
        let looked = [
            "query SELECT current_setting('application_name') AS name",
            "query SELECT count(*)::int4 FROM pg_class WHERE relname = 'left_behind' AND pg_table_is_visible(oid)",
            "query SELECT count(*)::int4 FROM pg_prepared_statements",
        ];
        for _ in 0..4 {
            let said = ask(&edge, place, &address, &looked).await.unwrap();
            assert!(said[0].ends_with("[[DbValue::Str(\"\")]]"), "{said:?}");
            assert!(said[1].ends_with("[[DbValue::Int32(0)]]"), "{said:?}");
            assert!(said[2].ends_with("[[DbValue::Int32(0)]]"), "{said:?}");
        }
        // A transaction that was begun ends with its guest.
        let begun = [
            "execute CREATE TABLE kept (id int4)",
            "execute BEGIN",
            "execute INSERT INTO kept VALUES (1)",
        ];
        ask(&edge, place, &address, &begun).await.unwrap();
        let rows = ["query SELECT count(*)::int4 FROM kept"];
        for _ in 0..4 {
            let said = ask(&edge, place, &address, &rows).await.unwrap();
            assert!(said[0].ends_with("[[DbValue::Int32(0)]]"), "{said:?}");
        }
        let other = address.replace("?", "?application_name=other&");
        let said = ask(&edge, place, &other, &looked).await.unwrap();
        assert!(said[0].ends_with("[[DbValue::Str(\"other\")]]"), "{said:?}");
    });
}

#[test]
fn nothing_is_reached_without_a_grant_and_what_is_no_server_is_said_to_be_none() {
    run(async {
        let edge = NODE.edge().await;
        let acme = asker(&edge, "pgill", json!({})).await;
        let silent = Stranger::saying(Vec::new(), b"").await;
        let web = Stranger::saying(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), b"").await;
        // A message of 2 GiB, were it believed.
        let claims = Stranger::saying(b"R\x7f\xff\xff\xff\0\0\0\0".to_vec(), b"").await;
        // Lets everybody in, and then says nothing else but that.
        let again = b"S\0\0\0\x08a\0b\0";
        let endless = Stranger::saying(b"R\0\0\0\x08\0\0\0\0".to_vec(), again).await;
        let worker = edge.status().await.worker.restarts;
        for (guest, place) in PLACES {
            let place = format!("{guest}.pgill.test/{place}");
            for grants in [json!({}), json!({"outbound": ["redis://127.0.0.1:*"]})] {
                acme.grants(guest, grants).await.unwrap();
                let said = ask(&edge, &place, &address(silent.port()), &[])
                    .await
                    .unwrap_err();
                assert!(
                    said.contains("no grant of the module covers postgres://127.0.0.1:"),
                    "{said}"
                );
            }
            acme.grants(guest, json!({"outbound": ["*://*:*"]}))
                .await
                .unwrap();
            let said = ask(&edge, &place, &address(silent.port()), &[])
                .await
                .unwrap_err();
            assert!(
                said.contains("it leads to no address that is allowed"),
                "{said}"
            );
        }
        assert_eq!(silent.connections(), 0);
        acme.limit(json!({"outbound_connect_ms_max": 300, "outbound_received_kib_max": 64}))
            .await;
        for (guest, place) in PLACES {
            let place = format!("{guest}.pgill.test/{place}");
            // A grant of either name.
            acme.grants(guest, json!({"outbound": ["postgresql://127.0.0.1:*"]}))
                .await
                .unwrap();
            for (port, expected) in [
                (silent.port(), "no connection within 300 ms"),
                (web.port(), "more than 65536 bytes"),
                (claims.port(), "more than 65536 bytes"),
                (endless.port(), "more than 65536 bytes"),
                (1, "the connection was refused"),
            ] {
                let said = ask(&edge, &place, &address(port), &[]).await.unwrap_err();
                assert!(said.contains(expected), "{place}: {said}");
            }
        }
        for stranger in [&silent, &web, &claims, &endless] {
            until("all connections are closed", async || {
                (stranger.open() == 0).then_some(())
            })
            .await;
        }
        logged(&acme, "timeout: no connection within 300 ms").await;
        logged(&acme, "too-large: the answer has more than 65536 bytes").await;
        assert_eq!(edge.status().await.worker.restarts, worker);
    });
}

#[test]
fn a_statement_that_hangs_ends_with_its_time_or_its_guest_and_answers_are_bounded() {
    run(async {
        let Some(server) = servers::postgres(None).await else {
            return;
        };
        let edge = NODE.edge().await;
        let acme = asker(&edge, "pgbounds", loopback()).await;
        let address = of(&server);
        let limits = json!({"outbound_ms_max": 1000, "outbound_sent_kib_max": 1, "outbound_received_kib_max": 64});
        acme.limit(limits).await;
        let long = format!("query SELECT $1::text\tstr:{}", "x".repeat(1500));
        for (guest, place) in PLACES {
            let place = format!("{guest}.pgbounds.test/{place}");
            let said = ask(
                &edge,
                &place,
                &address,
                &["query SELECT pg_sleep(60)", "query SELECT 1"],
            )
            .await
            .unwrap();
            assert!(
                said[0].contains("did not answer within 1000 ms"),
                "{said:?}"
            );
            assert!(
                said[1].contains("was closed with an earlier call"),
                "{said:?}"
            );
            for (statement, expected) in [
                (&*long, "bytes; allowed: 1024"),
                ("query SELECT repeat('x', 70000)", "more than 65536 bytes"),
                // Little to send, and much to hold.
                (
                    "query SELECT 1 FROM generate_series(1, 1000)",
                    "more than 65536 bytes",
                ),
                ("query SELECT '1e100000'::numeric", "more than 65536 bytes"),
                (
                    "query SELECT array_fill(NULL::int4, ARRAY[5000])",
                    "more than 65536 bytes",
                ),
                ("execute COPY pg_class TO STDOUT", "COPY is not offered"),
            ] {
                // The older ones have no form for them, and hold nothing of them.
                let is_new = statement.contains("numeric") || statement.contains("array");
                if is_new && !place.contains("spin7") && !place.ends_with("pg4") {
                    continue;
                }
                let said = ask(&edge, &place, &address, &[statement]).await.unwrap();
                assert!(said[0].contains(expected), "{place}: {}", said[0]);
            }
        }
        logged(&acme, "timeout: the server did not answer within 1000 ms").await;
        acme.limit(json!({"request_deadline_ms_max": 500, "response_head_ms_max": 500}))
            .await;
        for (guest, place) in PLACES {
            let place = format!("{guest}.pgbounds.test/{place}");
            let said = ask(&edge, &place, &address, &["query SELECT pg_sleep(60)"])
                .await
                .unwrap_err();
            assert!(said.starts_with("504: "), "{said}");
        }
    });
}

#[test]
fn what_is_encrypted_is_so_with_whom_it_should_be() {
    run(async {
        let known = servers::certificate("localhost");
        let Some(server) = servers::postgres(Some(&known)).await else {
            return;
        };
        let edge = NODE.edge().await;
        let granted = json!({"outbound": ["postgres://localhost:*"], "networks": ["127.0.0.0/8"]});
        let acme = asker(&edge, "pgtls", granted).await;
        let address = |mode: &str| {
            format!(
                "postgres://guest:secret@localhost:{}/postgres?sslmode={mode}",
                server.port()
            )
        };
        let is_encrypted = ["query SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"];
        for (guest, place) in PLACES {
            let place = format!("{guest}.pgtls.test/{place}");
            // It offers TLS, with a certificate that nobody vouches for.
            for mode in ["prefer", "require"] {
                let said = ask(&edge, &place, &address(mode), &is_encrypted)
                    .await
                    .unwrap_err();
                assert!(said.contains("its certificate is refused"), "{said}");
            }
            let said = ask(&edge, &place, &address("disable"), &is_encrypted)
                .await
                .unwrap();
            assert_eq!(
                said,
                ["ssl:DbDataType::Boolean [[DbValue::Boolean(false)]]"]
            );
        }
        logged(&acme, "tls: its certificate is refused: ").await;
        // A guest's own authority, for this connection.
        let with = |ca: &str| format!("spin7-asks.pgtls.test/pg-options?ca={}", super::encoded(ca));
        for _ in 0..2 {
            let said = ask(
                &edge,
                &with(&known.0),
                &address("verify-full"),
                &is_encrypted,
            )
            .await
            .unwrap();
            assert_eq!(said, ["ssl:DbDataType::Boolean [[DbValue::Boolean(true)]]"]);
        }
        let (other, _) = servers::certificate("localhost");
        let said = ask(&edge, &with(&other), &address("require"), &is_encrypted)
            .await
            .unwrap_err();
        assert!(said.contains("its certificate is refused"), "{said}");
        let said = ask(&edge, &with("nonsense"), &address("require"), &is_encrypted)
            .await
            .unwrap_err();
        assert!(said.contains("no certificate in PEM"), "{said}");
        let said = ask(&edge, &with(""), &address("disable"), &is_encrypted)
            .await
            .unwrap();
        assert_eq!(
            said,
            ["ssl:DbDataType::Boolean [[DbValue::Boolean(false)]]"]
        );
    });
}
