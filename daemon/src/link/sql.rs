//! What guests ask of SQL databases, and what they are given: between a worker and control, and between control and the
//! process that has a tenant's databases open.
//!
//! A connection is a number of the worker's. Its calls and its end go in order, so that an end finds what it ends.

use serde::{Deserialize, Serialize};

/// Bytes that a row, and each value in it, count for beside what they hold.
pub const OVERHEAD_BYTES: usize = 24;

/// A call of a connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum SqlOp {
    /// Opens it.
    Open {
        /// The database's name, which the module was granted.
        database: String,
    },
    /// Carries out a statement.
    Execute {
        /// One statement.
        statement: String,
        /// As many values as it has parameters.
        parameters: Vec<SqlValue>,
    },
    /// Closes it: what is under way is ended, and a transaction rolled back. Nothing is answered.
    Close,
}

/// A value in a row, and a parameter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum SqlValue {
    /// A whole number.
    Integer(i64),
    /// A number.
    Real(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
    /// Nothing.
    Null,
}

/// What a statement gave.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SqlRows {
    /// Names of the columns.
    pub columns: Vec<String>,
    /// Rows, each with as many values as there are columns.
    pub rows: Vec<Vec<SqlValue>>,
    /// The row id of the connection's last insertion; 0 where there was none.
    pub last_insert_rowid: i64,
    /// Rows that the connection's last insertion, change or deletion was about.
    pub changes: u64,
}

/// Why a statement gave nothing; as the interface has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum SqlFault {
    /// There is no such database.
    #[error("there is no such database")]
    NoSuchDatabase,
    /// The module was not granted it.
    #[error("the module was not granted the database")]
    AccessDenied,
    /// The connection is there no more.
    #[error("the connection is there no more")]
    InvalidConnection,
    /// The database has as many bytes as it may.
    #[error("the database is full")]
    Full,
    /// All else.
    #[error("{0}")]
    Io(String),
}

impl SqlOp {
    /// Bytes of text and values in it.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Open { database } => database.len(),
            Self::Execute {
                statement,
                parameters,
            } => statement.len() + row_bytes(parameters),
            Self::Close => 0,
        }
    }
}

impl SqlRows {
    /// Bytes of names and values in it, and what rows and values count for.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let rows: usize = self.rows.iter().map(|row| row_bytes(row)).sum();
        names_bytes(&self.columns) + rows
    }
}

/// What a row counts for.
#[must_use]
pub fn row_bytes(row: &[SqlValue]) -> usize {
    let values = row.iter().map(|value| OVERHEAD_BYTES + value.bytes());
    OVERHEAD_BYTES + values.sum::<usize>()
}

/// What the names of columns count for.
#[must_use]
pub fn names_bytes(columns: &[String]) -> usize {
    columns.iter().map(|name| OVERHEAD_BYTES + name.len()).sum()
}

impl SqlValue {
    fn bytes(&self) -> usize {
        match self {
            Self::Integer(_) | Self::Real(_) | Self::Null => 0,
            Self::Text(text) => text.len(),
            Self::Blob(bytes) => bytes.len(),
        }
    }
}
