//! Tenants' SQL databases: Spin's three interfaces, what is acknowledged, and what a hostile statement is stopped by.

use std::time::{Duration, Instant};

use control_api::view::{PageRequest, Precondition, SqlQuery, SqlResult, SqlValue};
use edge_config::StoreName;
use littoral_tests::{Shared, Tenant, TestEdge, component, run, run_within};
use serde_json::json;
use tokio::task::JoinSet;

static NODE: Shared = Shared::new();

/// A tenant with a guest that runs statements, granted `default` and `other`.
async fn keeper(edge: &TestEdge, tenant: &str, guest: &str) -> Tenant {
    let tenant = edge.tenant(tenant).await;
    tenant.guest(guest).await;
    let granted = json!({"databases": ["default", "other"]});
    tenant.grants(guest, granted).await.unwrap();
    tenant
}

/// What the guest says to statements with `;;` between them, and whether all went well.
async fn ask(edge: &TestEdge, place: &str, sql: &str) -> (u16, String) {
    let answer = edge.get(&format!("{place}?sql={}", encoded(sql))).await;
    (answer.status(), answer.text())
}

/// For a query.
fn encoded(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric();
    text.bytes()
        .map(|byte| match byte {
            byte if plain(&byte) => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

async fn well(edge: &TestEdge, place: &str, sql: &str) -> String {
    let (status, said) = ask(edge, place, sql).await;
    assert_eq!(status, 200, "{sql}: {said}");
    said
}

/// Asserts that a guest is refused with a reason.
async fn ill(edge: &TestEdge, place: &str, sql: &str, why: &str) {
    let (status, said) = ask(edge, place, sql).await;
    assert_eq!((status, said.contains(why)), (418, true), "{sql}: {said}");
}

const TABLE: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, v)";
/// Spins for as long as it is let.
const ENDLESS: &str =
    "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT count(*) FROM c";

#[test]
fn all_versions_of_spins_interface_do_what_they_say() {
    run(async {
        let edge = NODE.edge().await;
        for (tenant, guest, path) in [
            ("two", "spin5-sql", "/2"),
            ("three", "spin5-sql", "/3"),
            ("three-one", "spin7-sql", "/"),
        ] {
            keeper(&edge, tenant, guest).await;
            let place = format!("{guest}.{tenant}.test{path}");
            let said = well(
                &edge,
                &place,
                &format!("{TABLE};;INSERT INTO t(v) VALUES ('a'),(1.5),(x'00ff'),(NULL);;SELECT v, id FROM t"),
            )
            .await;
            for line in [
                "v=Value::Text(\"a\") id=Value::Integer(1)",
                "v=Value::Real(1.5) id=Value::Integer(2)",
                "v=Value::Blob([0, 255]) id=Value::Integer(3)",
                "v=Value::Null id=Value::Integer(4)",
            ] {
                assert!(said.contains(line), "{line}: {said}");
            }
            if path != "/2" {
                assert!(said.contains("changes 4 last 4"), "{said}");
            }
            // The error is the interface's own.
            ill(
                &edge,
                &place,
                "SELECT nowhere FROM t",
                "no such column: nowhere",
            )
            .await;
            ill(
                &edge,
                &place,
                "SELECT 1; SELECT 2",
                "allowed: one in a call",
            )
            .await;
            ill(
                &edge,
                &place,
                "SELECT ?",
                "has 1 parameters, and 0 came with it",
            )
            .await;
            assert!(!well(&edge, &place, " -- nothing\n").await.contains('='));
            let db = format!("{place}?db=secret&sql=SELECT+1");
            let answer = edge.get(&db).await;
            assert!(answer.text().contains("AccessDenied"), "{}", answer.text());
        }
        // Parameters of the kinds that a body makes.
        let place = "spin5-sql.two.test/2?sql=SELECT+%3F,+%3F";
        let answer = edge.ask("GET", place).body("\u{e9}").send().await.text();
        assert_eq!(
            answer,
            "?=Value::Blob([195, 169]) ?=Value::Text(\"\u{e9}\")"
        );
    });
}

#[test]
fn a_transaction_is_its_connections_and_ends_with_it() {
    run(async {
        let edge = NODE.edge().await;
        keeper(&edge, "transacts", "spin5-sql").await;
        let place = "spin5-sql.transacts.test/2";
        well(&edge, place, TABLE).await;
        well(
            &edge,
            place,
            "BEGIN;;INSERT INTO t VALUES(1,1);;INSERT INTO t VALUES(2,2);;COMMIT",
        )
        .await;
        well(&edge, place, "BEGIN;;INSERT INTO t VALUES(3,3);;ROLLBACK").await;
        // The guest ends amid it.
        well(&edge, place, "BEGIN IMMEDIATE;;INSERT INTO t VALUES(4,4)").await;
        let said = well(&edge, place, "SELECT count(*) AS n FROM t").await;
        assert_eq!(said, "n=Value::Integer(2)");
        // Nothing of a statement that fails half-way.
        ill(
            &edge,
            place,
            "INSERT INTO t VALUES (5,5),(1,1)",
            "UNIQUE constraint failed",
        )
        .await;
        let said = well(&edge, place, "SELECT count(*) AS n FROM t").await;
        assert_eq!(said, "n=Value::Integer(2)");
    });
}

#[test]
fn two_tenants_with_the_same_database_never_see_each_others() {
    run(async {
        let edge = NODE.edge().await;
        for tenant in ["mine", "theirs"] {
            keeper(&edge, tenant, "spin5-sql").await;
            let place = format!("spin5-sql.{tenant}.test/2");
            well(
                &edge,
                &place,
                &format!("{TABLE};;INSERT INTO t(v) VALUES('{tenant}')"),
            )
            .await;
        }
        for tenant in ["mine", "theirs"] {
            let place = format!("spin5-sql.{tenant}.test/2");
            let said = well(&edge, &place, "SELECT v FROM t").await;
            assert_eq!(said, format!("v=Value::Text(\"{tenant}\")"));
            // Nor is one of a tenant's databases the other.
            let other = edge
                .get(&format!("{place}?db=other&sql=SELECT+v+FROM+t"))
                .await;
            assert!(
                other.text().contains("no such table: t"),
                "{}",
                other.text()
            );
        }
    });
}

#[test]
fn a_statement_reaches_nothing_but_its_database() {
    run(async {
        let edge = NODE.edge().await;
        keeper(&edge, "reaches", "spin5-sql").await;
        let place = "spin5-sql.reaches.test/2";
        well(&edge, place, TABLE).await;
        let folder = edge.data().join("databases").join("72656163686573");
        // The log and its index come and go.
        let is_database = |path: &std::path::Path| path.extension().is_some_and(|of| of == "db");
        let files = || {
            let entries = std::fs::read_dir(&folder).unwrap();
            entries
                .filter(|entry| is_database(&entry.as_ref().unwrap().path()))
                .count()
        };
        let before = files();
        for (sql, why) in [
            (
                "ATTACH 'other.db' AS o",
                "ATTACH and VACUUM are not allowed",
            ),
            (
                "ATTACH ':memory:' AS o",
                "ATTACH and VACUUM are not allowed",
            ),
            ("DETACH main", "DETACH is not allowed"),
            ("VACUUM INTO 'copy.db'", "not allowed"),
            ("VACUUM", "not allowed"),
            ("SELECT load_extension('x')", "load_extension"),
            ("SELECT fts3_tokenizer('simple')", "fts3_tokenizer"),
            (
                "PRAGMA writable_schema = ON",
                "PRAGMA writable_schema with a value is not allowed",
            ),
            (
                "PRAGMA journal_mode = OFF",
                "PRAGMA journal_mode with a value is not allowed",
            ),
            (
                "PRAGMA synchronous = OFF",
                "PRAGMA synchronous with a value is not allowed",
            ),
            (
                "PRAGMA max_page_count = 1000000",
                "PRAGMA max_page_count with a value is not allowed",
            ),
            (
                "PRAGMA hard_heap_limit = 0",
                "PRAGMA hard_heap_limit with a value is not allowed",
            ),
            ("PRAGMA temp_store_directory = '/tmp'", "is not allowed"),
            ("PRAGMA mmap_size = 1000000", "is not allowed"),
            ("PRAGMA busy_timeout = 1", "is not allowed"),
            ("PRAGMA trusted_schema = ON", "is not allowed"),
            ("PRAGMA schema_version = 1", "is not allowed"),
            ("UPDATE sqlite_schema SET sql = 'x'", "may not be modified"),
            ("DELETE FROM sqlite_master", "may not be modified"),
            (
                "CREATE VIRTUAL TABLE f USING fts3(x)",
                "virtual tables of fts3 are not allowed",
            ),
            (
                "CREATE VIRTUAL TABLE f USING dbstat",
                "virtual tables of dbstat are not allowed",
            ),
        ] {
            ill(&edge, place, sql, why).await;
        }
        assert_eq!((before, files()), (1, 1));
        // What programs do need is there.
        for sql in [
            "PRAGMA journal_mode = WAL",
            "PRAGMA foreign_keys = ON",
            "PRAGMA user_version = 7",
            "PRAGMA table_info(t)",
            "SELECT name FROM pragma_table_info('t')",
            "CREATE VIRTUAL TABLE docs USING fts5(body);;INSERT INTO docs VALUES('a fox');;SELECT body FROM docs WHERE docs MATCH 'fox'",
            "CREATE VIRTUAL TABLE boxes USING rtree(id, a, b)",
            "CREATE TEMP TABLE x(y);;INSERT INTO x VALUES(1)",
            "CREATE INDEX i ON t(v);;ANALYZE;;REINDEX",
            "SELECT json_extract('{\"a\":1}', '$.a')",
        ] {
            well(&edge, place, sql).await;
        }
    });
}

#[test]
fn an_endless_statement_ends_and_holds_up_no_other_tenants() {
    run(async {
        let edge = NODE.edge().await;
        let slow = keeper(&edge, "slow", "spin5-sql").await;
        slow.limit(json!({"database_statement_ms_max": 1500})).await;
        keeper(&edge, "quick", "spin5-sql").await;
        well(&edge, "spin5-sql.quick.test/2", TABLE).await;
        let started = Instant::now();
        let endless = async {
            for sql in [
                ENDLESS.to_owned(),
                // Inside a transaction, too.
                format!("BEGIN;;{ENDLESS}"),
            ] {
                ill(
                    &edge,
                    "spin5-sql.slow.test/2",
                    &sql,
                    "took more than the allowed 1500 ms",
                )
                .await;
            }
        };
        let quick = async {
            let mut most = Duration::ZERO;
            for _ in 0..50 {
                let asked = Instant::now();
                well(
                    &edge,
                    "spin5-sql.quick.test/2",
                    "INSERT INTO t(v) VALUES(1)",
                )
                .await;
                most = most.max(asked.elapsed());
            }
            most
        };
        let ((), most) = tokio::join!(endless, quick);
        assert!(most < Duration::from_millis(1500), "{most:?}");
        assert!(started.elapsed() < Duration::from_secs(20));
        // One step that listens to nothing: the process is killed, and the next connection has another.
        slow.limit(json!({"database_statement_ms_max": 300, "request_deadline_ms_max": 60_000, "response_head_ms_max": 60_000})).await;
        let step = "SELECT instr(hex(zeroblob(1000000)), hex(zeroblob(500000)) || '1')";
        ill(&edge, "spin5-sql.slow.test/2", step, "InvalidConnection").await;
        let said = well(&edge, "spin5-sql.slow.test/2", "SELECT 1 AS n").await;
        assert_eq!(said, "n=Value::Integer(1)");
    });
}

#[test]
fn a_guest_that_is_ended_leaves_no_statement_behind() {
    run(async {
        let edge = NODE.edge().await;
        let ended = keeper(&edge, "ended", "spin5-sql").await;
        let place = "spin5-sql.ended.test/2";
        well(&edge, place, TABLE).await;
        ended.limit(json!({
            "request_deadline_ms_max": 500, "response_head_ms_max": 500, "database_statement_ms_max": 60_000,
            "database_transaction_ms_max": 60_000,
        })).await;
        let sql = format!("BEGIN IMMEDIATE;;INSERT INTO t VALUES(1,1);;{ENDLESS}");
        assert_eq!(ask(&edge, place, &sql).await.0, 504);
        // Its lock went with it, long before the statement's own time was up.
        ended.limit(json!({})).await;
        let asked = Instant::now();
        let said = well(&edge, place, "INSERT INTO t VALUES(2,2);;SELECT id FROM t").await;
        assert_eq!(said, "id=Value::Integer(2)");
        assert!(
            asked.elapsed() < Duration::from_secs(4),
            "{:?}",
            asked.elapsed()
        );
    });
}

#[test]
fn a_lock_is_held_for_as_long_as_a_transaction_may_take_and_no_longer() {
    run(async {
        let edge = NODE.edge().await;
        let locks = keeper(&edge, "locks", "spin5-sql").await;
        locks
            .limit(json!({"database_transaction_ms_max": 1000}))
            .await;
        let place = "spin5-sql.locks.test/2";
        well(&edge, place, TABLE).await;
        let holds = async {
            let sql =
                "BEGIN IMMEDIATE;;INSERT INTO t VALUES(1,1);;wait 2500;;INSERT INTO t VALUES(2,2)";
            ill(
                &edge,
                place,
                sql,
                "open for more than the allowed 1000 ms, and was rolled back",
            )
            .await;
        };
        let waits = async {
            // After the first has the lock.
            loop {
                let (status, said) = ask(
                    &edge,
                    "spin5-sql.locks.test/2",
                    "BEGIN IMMEDIATE;;INSERT INTO t VALUES(3,3);;COMMIT;;SELECT id FROM t",
                )
                .await;
                assert_eq!(status, 200, "{said}");
                if said == "id=Value::Integer(3)" {
                    return;
                }
            }
        };
        tokio::join!(holds, waits);
        let said = well(&edge, place, "SELECT id FROM t").await;
        assert_eq!(said, "id=Value::Integer(3)");
    });
}

#[test]
fn memory_rows_and_space_are_bounded_and_the_database_lives_on() {
    run(async {
        let edge = NODE.edge().await;
        let small = keeper(&edge, "small", "spin5-sql").await;
        small.limit(json!({
            "database_kib_max": 256, "database_memory_kib_max": 8192, "database_result_kib_max": 16, "databases_max": 1,
            "database_connections_max": 2, "database_statement_ms_max": 10_000,
        })).await;
        let place = "spin5-sql.small.test/2";
        well(&edge, place, TABLE).await;
        let numbers = |count: u32| {
            format!(
                "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x < {count}) "
            )
        };
        for (sql, why) in [
            (
                format!("{}SELECT x FROM c", numbers(10_000)),
                "gives more than the allowed 16 KiB",
            ),
            (
                "SELECT zeroblob(100000)".to_owned(),
                "gives more than the allowed 16 KiB",
            ),
            (
                "SELECT length(randomblob(1000000000))".to_owned(),
                "too long",
            ),
            (
                // A sorter has nowhere to go but to memory.
                format!(
                    "{}SELECT count(*) FROM (SELECT randomblob(1000) AS b FROM c ORDER BY b)",
                    numbers(100_000)
                ),
                "takes more memory than the tenant's databases may have",
            ),
            (
                format!(
                    "INSERT INTO t(v) {}SELECT randomblob(1000) FROM c",
                    numbers(1000)
                ),
                "DatabaseFull",
            ),
        ] {
            ill(&edge, place, &sql, why).await;
        }
        let deep = format!("SELECT {}1{}", "(".repeat(500), ")".repeat(500));
        ill(&edge, place, &deep, "Io").await;
        let wide = vec!["SELECT 1"; 101].join(" UNION ALL ");
        ill(&edge, place, &wide, "too many terms in compound SELECT").await;
        // One more database than there may be, and one connection.
        let other = edge.get(&format!("{place}?db=other&sql=SELECT+1")).await;
        assert!(
            other
                .text()
                .contains("the tenant has 1 databases; allowed: 1"),
            "{}",
            other.text()
        );
        let many = edge.get(&format!("{place}?times=3&sql=SELECT+1")).await;
        assert!(
            many.text().contains("2 connections to its databases open"),
            "{}",
            many.text()
        );
        well(
            &edge,
            place,
            "INSERT INTO t(v) VALUES('fits');;SELECT v FROM t",
        )
        .await;
        // One after another needs no more than one: a guest's closes with it.
        small.limit(json!({"database_connections_max": 1})).await;
        for _ in 0..30 {
            well(&edge, place, "SELECT count(*) FROM t").await;
        }
        let usage = small.usage().await;
        assert_eq!(usage.databases, 1);
        assert!(
            (4096..=(256 << 10) + (9 << 20)).contains(&usage.database_bytes),
            "{}",
            usage.database_bytes
        );
        small.limit(json!({"key_value_calls_per_s_max": 0})).await;
        ill(
            &edge,
            place,
            "SELECT 1",
            "more calls of databases than the tenant may make",
        )
        .await;
    });
}

#[test]
fn databases_are_seen_asked_and_removed_from_outside() {
    run(async {
        let edge = NODE.edge().await;
        let seen = keeper(&edge, "seen-sql", "spin5-sql").await;
        let place = "spin5-sql.seen-sql.test/2";
        well(
            &edge,
            place,
            &format!("{TABLE};;INSERT INTO t(v) VALUES('of a guest')"),
        )
        .await;
        let (client, name): (_, StoreName) = (edge.client(), "default".parse().unwrap());
        let query = async |statement: &str, parameters: Vec<SqlValue>| {
            let statement = statement.to_owned();
            let query = SqlQuery {
                statement,
                parameters,
            };
            client.query_database(seen.name(), &name, &query).await
        };
        let inserted = query(
            "INSERT INTO t(v) VALUES(?)",
            vec![SqlValue::Text("outside".to_owned())],
        );
        let inserted = inserted.await.unwrap();
        assert_eq!((inserted.changes, inserted.last_insert_rowid), (1, 2));
        let SqlResult { columns, rows, .. } =
            query("SELECT id, v FROM t", Vec::new()).await.unwrap();
        assert_eq!(columns, ["id", "v"]);
        assert_eq!(
            rows[1],
            [SqlValue::Integer(2), SqlValue::Text("outside".to_owned())]
        );
        let said = well(&edge, place, "SELECT v FROM t WHERE id = 2").await;
        assert_eq!(said, "v=Value::Text(\"outside\")");
        let refused = query("ATTACH 'x' AS y", Vec::new())
            .await
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains("ATTACH and VACUUM are not allowed"),
            "{refused}"
        );
        let page = PageRequest {
            after: None,
            limit: 10,
        };
        let listed = client.databases(seen.name(), &page).await.unwrap().items;
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].name, "default");
        client.delete_database(seen.name(), &name).await.unwrap();
        assert!(
            client
                .databases(seen.name(), &page)
                .await
                .unwrap()
                .items
                .is_empty()
        );
        let gone = query("SELECT 1", Vec::new()).await.unwrap_err().to_string();
        assert!(gone.contains("has no database `default`"), "{gone}");
        ill(&edge, place, "SELECT v FROM t", "no such table: t").await;
    });
}

#[test]
fn databases_go_with_their_tenant() {
    run(async {
        let edge = NODE.edge().await;
        let gone = keeper(&edge, "gone-sql", "spin5-sql").await;
        let place = "spin5-sql.gone-sql.test/2";
        well(&edge, place, TABLE).await;
        gone.unroute(&format!("{}/", place.trim_end_matches("/2")))
            .await
            .unwrap();
        gone.delete_module("spin5-sql").await.unwrap();
        let client = edge.client();
        client
            .delete_tenant(gone.name(), Precondition::None)
            .await
            .unwrap();
        let again = edge.tenant("gone-sql").await;
        again.version("sql", 1, component("spin5-sql")).await;
        again
            .route("spin5-sql.gone-sql.test/", "sql", None)
            .await
            .unwrap();
        again
            .grants("sql", json!({"databases": ["default"]}))
            .await
            .unwrap();
        ill(&edge, place, "SELECT v FROM t", "no such table: t").await;
    });
}

#[test]
fn acknowledged_commits_outlive_control_killed_amid_them() {
    run_within(Duration::from_secs(200), async {
        let mut edge = TestEdge::start().await;
        let acme = keeper(&edge, "acme", "spin5-sql").await;
        let limits = json!({"concurrent_requests_max": 8, "waiting_requests_max": 100, "waiting_ms_max": 60_000});
        acme.limit(limits).await;
        let place = "spin5-sql.acme.test/2";
        well(&edge, place, TABLE).await;
        let mut acknowledged = Vec::new();
        let mut next = 0;
        for answers in [60, 120, 180] {
            let mut asked = JoinSet::new();
            while acknowledged.len() < answers {
                while asked.len() < 8 {
                    next += 2;
                    // Two rows, or none.
                    let sql = format!(
                        "BEGIN IMMEDIATE;;INSERT INTO t VALUES({next},1);;INSERT INTO t VALUES({},1);;COMMIT",
                        next + 1
                    );
                    let ask = edge.ask("GET", &format!("{place}?sql={}", encoded(&sql)));
                    let number = next;
                    asked.spawn(async move { (number, ask.send().await) });
                }
                let (number, answer) = asked.join_next().await.unwrap().unwrap();
                assert_eq!(answer.status(), 200, "{}", answer.text());
                acknowledged.push(number);
            }
            edge.kill_control();
            edge.control().wait().await;
            // Those under way are not answered, whatever was written of them.
            asked.abort_all();
            edge.start_again().await;
        }
        let said = well(
            &edge,
            place,
            "SELECT id FROM t ORDER BY id;;PRAGMA integrity_check",
        )
        .await;
        assert!(said.contains("\"ok\""), "{said}");
        for number in acknowledged {
            for id in [number, number + 1] {
                assert!(
                    said.contains(&format!("Integer({id})")),
                    "{id} was acknowledged"
                );
            }
        }
        let half =
            "SELECT count(*) AS n FROM t WHERE id % 2 = 0 AND id + 1 NOT IN (SELECT id FROM t)";
        assert_eq!(well(&edge, place, half).await, "n=Value::Integer(0)");
        // A worker's death rolls back what its guests had open, and takes nothing that was committed.
        edge.kill_worker().await;
        assert_eq!(well(&edge, place, half).await, "n=Value::Integer(0)");
    });
}
