//! Of one connection, without a process around it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::connection::Open;
use super::message::Bounds;
use super::registry::{hex, list, unhex};
use super::turn::Turn;
use super::watch::Watch;
use crate::link::sql::{SqlFault, SqlRows, SqlValue, row_bytes};

const BOUNDS: Bounds = Bounds {
    database_bytes_max: 1 << 20,
    statement_ms_max: 10_000,
    transaction_ms_max: 10_000,
    result_bytes_max: 64 << 10,
    databases_max: 4,
};

struct Database {
    dir: tempfile::TempDir,
    turn: Arc<Turn>,
}

impl Database {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            turn: Arc::default(),
        }
    }

    fn open(&self, bounds: Bounds) -> Open {
        let watch = Arc::new(Watch::new(Arc::clone(&self.turn), Instant::now()));
        Open::new(&self.dir.path().join("64.db"), bounds, 64, watch).unwrap()
    }
}

fn run(connection: &mut Open, statement: &str) -> Result<SqlRows, SqlFault> {
    connection.execute(statement, &[])
}

fn refused(connection: &mut Open, statement: &str) -> String {
    run(connection, statement).unwrap_err().to_string()
}

#[test]
fn a_name_is_no_path_and_comes_back() {
    for name in ["default", "../../etc", "A.b_c-", "\u{e9}"] {
        let path = hex(name);
        assert!(path.bytes().all(|byte| byte.is_ascii_hexdigit()), "{path}");
        assert_eq!(unhex(&path).as_deref(), Some(name));
    }
    for strange in ["6", "zz", "ff"] {
        assert_eq!(unhex(strange), None, "{strange}");
    }
}

#[test]
fn a_folder_lists_databases_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(list(&dir.path().join("absent")).unwrap(), []);
    for (file, bytes) in [
        ("62.db", 3),
        ("61.db", 1),
        ("61.db-wal", 10),
        ("x.db", 1),
        ("61.txt", 1),
    ] {
        std::fs::write(dir.path().join(file), vec![0; bytes]).unwrap();
    }
    let found = list(dir.path()).unwrap();
    let found: Vec<_> = found
        .iter()
        .map(|found| (found.name.as_str(), found.bytes))
        .collect();
    assert_eq!(found, [("a", 11), ("b", 3)]);
}

#[test]
fn a_turn_is_one_threads_at_a_time_and_offered_to_those_who_wait() {
    let (turn, inside) = (Turn::default(), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..100 {
                    turn.take();
                    for _ in 0..10 {
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        inside.fetch_sub(1, Ordering::SeqCst);
                        turn.offer();
                    }
                    turn.give_up();
                }
            });
        }
    });
}

#[test]
fn a_transaction_whose_time_is_up_is_rolled_back_and_its_guest_told_once() {
    let database = Database::new();
    let mut connection = database.open(BOUNDS);
    run(&mut connection, "CREATE TABLE t(v)").unwrap();
    assert_eq!(connection.transaction_until(), None);
    run(&mut connection, "BEGIN").unwrap();
    run(&mut connection, "INSERT INTO t VALUES(1)").unwrap();
    assert!(connection.transaction_until().is_some());
    connection.roll_back();
    assert_eq!(connection.transaction_until(), None);
    let said = refused(&mut connection, "COMMIT");
    assert_eq!(
        said,
        "the transaction was open for more than the allowed 10000 ms, and was rolled back"
    );
    let left = run(&mut connection, "SELECT count(*) FROM t").unwrap();
    assert_eq!(left.rows, [[SqlValue::Integer(0)]]);
}

#[test]
fn another_connection_waits_for_a_lock_until_its_statement_has_had_its_time() {
    let database = Database::new();
    let mut holder = database.open(BOUNDS);
    let mut waiter = database.open(Bounds {
        statement_ms_max: 50,
        ..BOUNDS
    });
    run(&mut holder, "BEGIN IMMEDIATE").unwrap();
    let said = refused(&mut waiter, "CREATE TABLE t(v)");
    assert_eq!(said, "another connection had the database locked for 50 ms");
    run(&mut holder, "COMMIT").unwrap();
    run(&mut waiter, "CREATE TABLE t(v)").unwrap();
}

#[test]
fn a_connection_that_closes_ends_its_statement() {
    let database = Database::new();
    let watch = Arc::new(Watch::new(Arc::clone(&database.turn), Instant::now()));
    let file = database.dir.path().join("64.db");
    let mut connection = Open::new(&file, BOUNDS, 64, Arc::clone(&watch)).unwrap();
    watch.close();
    let endless =
        "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT count(*) FROM c";
    let started = Instant::now();
    assert!(run(&mut connection, endless).is_err());
    assert!(started.elapsed().as_secs() < 5);
}

#[test]
fn no_pragma_is_set_but_those_that_are_listed() {
    let database = Database::new();
    let mut connection = database.open(BOUNDS);
    let all = run(&mut connection, "PRAGMA pragma_list").unwrap();
    assert!(all.rows.len() > 50, "{}", all.rows.len());
    let free = [
        "application_id",
        "case_sensitive_like",
        "defer_foreign_keys",
        "foreign_key_check",
        "foreign_key_list",
        "foreign_keys",
        "index_info",
        "index_list",
        "index_xinfo",
        "integrity_check",
        "optimize",
        "quick_check",
        "recursive_triggers",
        "table_info",
        "table_list",
        "table_xinfo",
        "user_version",
    ];
    // They take no value, whatever stands there.
    let deaf = [
        "collation_list",
        "compile_options",
        "data_version",
        "database_list",
        "freelist_count",
        "function_list",
        "module_list",
        "page_count",
        "pragma_list",
    ];
    for row in &all.rows {
        let [SqlValue::Text(name)] = row.as_slice() else {
            panic!("{row:?}");
        };
        if free.contains(&name.as_str()) || deaf.contains(&name.as_str()) {
            continue;
        }
        let said = refused(&mut connection, &format!("PRAGMA {name} = 1"));
        assert_eq!(said, format!("PRAGMA {name} with a value is not allowed"));
    }
}

#[test]
fn rows_count_for_what_they_hold_and_a_little_more() {
    let row = [SqlValue::Text("text".to_owned()), SqlValue::Null];
    assert_eq!(row_bytes(&row), 3 * 24 + 4);
    let database = Database::new();
    let mut connection = database.open(BOUNDS);
    let many = |count: usize| {
        format!(
            "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x < {count}) SELECT x FROM c"
        )
    };
    // The name of the column is 25 bytes, and each row 48.
    let fits = ((64 << 10) - 25) / 48;
    assert_eq!(run(&mut connection, &many(fits)).unwrap().rows.len(), fits);
    let said = refused(&mut connection, &many(fits + 1));
    assert!(
        said.starts_with("the statement gives more than the allowed 64 KiB"),
        "{said}"
    );
}
