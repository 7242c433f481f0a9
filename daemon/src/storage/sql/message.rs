//! What control and the process that has a tenant's databases open tell each other.

use serde::{Deserialize, Serialize};

use crate::confine::Orders;
use crate::link::sql::{SqlFault, SqlRows, SqlValue};

/// What one connection may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// The database, in bytes.
    pub database_bytes_max: u64,
    /// A statement, in milliseconds.
    pub statement_ms_max: u64,
    /// A transaction, in milliseconds.
    pub transaction_ms_max: u64,
    /// What a statement gives, in bytes.
    pub result_bytes_max: u64,
    /// Databases in the folder.
    pub databases_max: u64,
}

/// What the process is told first: who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Start {
    pub(super) orders: Orders,
    /// SQLite's memory for everything, in bytes.
    pub(super) memory_bytes_max: u64,
    /// Any file, in bytes.
    pub(super) file_bytes_max: u64,
    /// Connections at once.
    pub(super) connections_max: u64,
}

/// A call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Call {
    /// Its answer has the same.
    pub(super) id: u64,
    pub(super) connection: u64,
    pub(super) op: Op,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Op {
    Open {
        /// The file's name in the folder.
        file: String,
        bounds: Bounds,
    },
    Execute {
        statement: String,
        parameters: Vec<SqlValue>,
    },
    /// Not answered.
    Close,
}

impl Op {
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Open { file, .. } => file.len(),
            Self::Execute {
                statement,
                parameters,
            } => statement.len() + crate::link::sql::row_bytes(parameters),
            Self::Close => 0,
        }
    }
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Answer {
    pub(super) id: u64,
    pub(super) outcome: Result<SqlRows, SqlFault>,
}
