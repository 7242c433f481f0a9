//! What statements of guests may do: reach nothing but their own database, and no part of SQLite that they need not.
//!
//! Takes a fresh connection; what is set here cannot be undone by a statement.

use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::config::DbConfig;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::{Connection, Result};

/// Longest statement, in bytes.
pub(super) const STATEMENT_BYTES_MAX: usize = 256 << 10;
/// Longest text, blob and row, in bytes.
pub(super) const VALUE_BYTES_MAX: usize = 4 << 20;

/// SQLite's own limits; its defaults are for statements that are trusted.
const LIMITS: [(Limit, usize); 15] = [
    (Limit::SQLITE_LIMIT_LENGTH, VALUE_BYTES_MAX),
    (Limit::SQLITE_LIMIT_SQL_LENGTH, STATEMENT_BYTES_MAX),
    (Limit::SQLITE_LIMIT_COLUMN, 500),
    (Limit::SQLITE_LIMIT_EXPR_DEPTH, 200),
    (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 100),
    // Recursion in the parser: the stack of a connection's thread is made for it.
    (Limit::SQLITE_LIMIT_PARSER_DEPTH, 200),
    (Limit::SQLITE_LIMIT_VDBE_OP, 250_000),
    (Limit::SQLITE_LIMIT_FUNCTION_ARG, 100),
    (Limit::SQLITE_LIMIT_ATTACHED, 0),
    // Matching takes the length of the text to the power of the pattern's wildcards, in one step.
    (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 256),
    (Limit::SQLITE_LIMIT_VARIABLE_NUMBER, 10_000),
    (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 10),
    (Limit::SQLITE_LIMIT_TRIGGER_STEPS, 100),
    // Each connection reads all of them.
    (Limit::SQLITE_LIMIT_SCHEMA, 2000),
    (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
];

/// Pragmas that tell, and change nothing beyond the connection's own transaction.
const PRAGMAS: [&str; 28] = [
    "application_id",
    "case_sensitive_like",
    "collation_list",
    "compile_options",
    "data_version",
    "database_list",
    "defer_foreign_keys",
    "encoding",
    "foreign_key_check",
    "foreign_key_list",
    "foreign_keys",
    "freelist_count",
    "function_list",
    "index_info",
    "index_list",
    "index_xinfo",
    "integrity_check",
    "module_list",
    "optimize",
    "page_count",
    "pragma_list",
    "quick_check",
    "recursive_triggers",
    "schema_version",
    "table_info",
    "table_list",
    "table_xinfo",
    "user_version",
];
/// Pragmas that may be asked for and not set.
const PRAGMAS_TO_READ: [&str; 8] = [
    "auto_vacuum",
    "busy_timeout",
    "cache_size",
    "journal_mode",
    "max_page_count",
    "page_size",
    "synchronous",
    "temp_store",
];
/// Of those, settings that are so already, which libraries ask for.
const PRAGMAS_SET_ALREADY: [(&str, &str); 3] = [
    ("journal_mode", "wal"),
    ("synchronous", "full"),
    ("temp_store", "memory"),
];
/// Settings among [`PRAGMAS`] that are told and not set: what a schema's version is said to be is believed.
const NOT_SET: [&str; 2] = ["schema_version", "encoding"];
/// Kinds of virtual tables that keep nothing outside the database.
const MODULES: [&str; 3] = ["fts5", "fts5vocab", "rtree"];
/// Functions that reach beyond the database.
const FUNCTIONS_DENIED: [&str; 2] = ["load_extension", "fts3_tokenizer"];

/// What was denied last, for the error: SQLite says only that something was.
#[derive(Debug, Default, Clone)]
pub(super) struct Denied(Arc<Mutex<Option<String>>>);

impl Denied {
    pub(super) fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn say(&self, what: String) -> Authorization {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(what);
        Authorization::Deny
    }
}

/// Holds a connection to the rules, for good.
pub(super) fn hold(connection: &mut Connection) -> Result<Denied> {
    for (limit, value) in LIMITS {
        connection.set_limit(limit, i32::try_from(value).unwrap_or(i32::MAX))?;
    }
    for (option, is_on) in [
        (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
        (DbConfig::SQLITE_DBCONFIG_WRITABLE_SCHEMA, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_FTS3_TOKENIZER, false),
    ] {
        connection.set_db_config(option, is_on)?;
    }
    let denied = Denied::default();
    let judge = denied.clone();
    connection.authorizer(Some(move |asked: AuthContext<'_>| {
        allow(&asked.action, &judge)
    }))?;
    Ok(denied)
}

fn allow(action: &AuthAction<'_>, denied: &Denied) -> Authorization {
    match action {
        AuthAction::Attach { .. } => denied.say("ATTACH and VACUUM are not allowed".to_owned()),
        AuthAction::Detach { .. } => denied.say("DETACH is not allowed".to_owned()),
        AuthAction::Unknown { code, .. } => denied.say(format!("action {code} is not allowed")),
        AuthAction::Pragma {
            pragma_name,
            pragma_value,
        } => allow_pragma(pragma_name, *pragma_value, denied),
        AuthAction::Function { function_name } => {
            if FUNCTIONS_DENIED
                .iter()
                .any(|name| name.eq_ignore_ascii_case(function_name))
            {
                return denied.say(format!("the function {function_name} is not allowed"));
            }
            Authorization::Allow
        }
        AuthAction::CreateVtable { module_name, .. } => {
            if MODULES
                .iter()
                .any(|name| name.eq_ignore_ascii_case(module_name))
            {
                return Authorization::Allow;
            }
            denied.say(format!(
                "virtual tables of {module_name} are not allowed; allowed: {}",
                MODULES.join(", ")
            ))
        }
        // Its own database: a guest may do there what it likes.
        _ => Authorization::Allow,
    }
}

fn allow_pragma(name: &str, value: Option<&str>, denied: &Denied) -> Authorization {
    let name = name.to_ascii_lowercase();
    let is_set_already = |value: &str| {
        PRAGMAS_SET_ALREADY
            .iter()
            .any(|(pragma, to)| *pragma == name && value.eq_ignore_ascii_case(to))
    };
    let allowed = match value {
        None => PRAGMAS.contains(&name.as_str()) || PRAGMAS_TO_READ.contains(&name.as_str()),
        Some(value) => {
            let is_free = PRAGMAS.contains(&name.as_str()) && !NOT_SET.contains(&name.as_str());
            is_free || is_set_already(value)
        }
    };
    if allowed {
        return Authorization::Allow;
    }
    denied.say(match value {
        None => format!("PRAGMA {name} is not allowed"),
        Some(_) => format!("PRAGMA {name} with a value is not allowed"),
    })
}
