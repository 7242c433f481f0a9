//! What a worker asks of control on behalf of a guest, over a link of its own.
//!
//! Calls and replies go in batches, many under way at once; each call has a number, and its reply the same. The worker
//! names the tenant: what a worker may not be trusted with is not on offer here.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::sql::{SqlFault, SqlOp, SqlRows};

/// Most calls in one frame, and so most replies.
pub const BATCH_MAX: usize = 64;
/// A frame is sent when it has so many bytes, in calls or replies, whatever waits: one more fits with it.
pub const BATCH_BYTES_MAX: usize = 1 << 20;
/// Most bytes of keys and values in one call: what a frame takes, less what others may have put in it.
pub const CALL_BYTES_MAX: usize = 12 << 20;

/// One guest's call.
#[derive(Debug, Serialize, Deserialize)]
pub struct Call {
    /// Its number, of those under way its own.
    pub id: u64,
    /// Whose guest.
    pub tenant: String,
    /// Which module's.
    pub module: String,
    /// What it asks for.
    pub ask: Ask,
}

/// What control does for guests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Ask {
    /// Something of a key-value store that the module was granted.
    Store {
        /// Its name.
        store: String,
        /// What.
        op: StoreOp,
    },
    /// The value of a variable.
    Variable {
        /// Its name.
        name: String,
    },
    /// All variables that the module may read.
    Variables,
    /// Something of a connection to an SQL database.
    Sql {
        /// The connection's number, of those of the worker its own.
        connection: u64,
        /// What.
        op: SqlOp,
    },
    /// The addresses of a name that the module may connect to.
    Resolve {
        /// A name in normal form.
        host: String,
        /// The longest time it may take, in milliseconds.
        ms_max: u64,
    },
    /// A connection to somewhere that the module was granted.
    Connect {
        /// What for, as grants have it: `http`, `https`, `tcp`, `redis`, `rediss`, `postgres`.
        scheme: String,
        /// A name in normal form, or an address without brackets.
        host: String,
        /// The port.
        port: u16,
        /// The longest time it may take, in milliseconds.
        ms_max: u64,
    },
}

/// Calls of a key-value store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StoreOp {
    /// The value of a key.
    Get(String),
    /// Those of several.
    GetMany(Vec<String>),
    /// Whether a key is there.
    Exists(String),
    /// Keys in order, those after one of them or from the first.
    Keys {
        /// The one before the first that is wanted.
        after: Option<String>,
        /// Most keys.
        limit: u32,
    },
    /// Sets keys to values, all or none.
    Set(Vec<(String, Vec<u8>)>),
    /// Removes keys, all or none; one that is not there is no error.
    Delete(Vec<String>),
    /// Adds to a decimal number, 0 where there is none.
    Increment {
        /// Its key.
        key: String,
        /// What is added.
        delta: i64,
    },
    /// Sets a key if it still is what it was.
    Swap {
        /// The key.
        key: String,
        /// What it was.
        current: Option<Vec<u8>>,
        /// What it is to be.
        value: Vec<u8>,
    },
}

impl Ask {
    /// Bytes of text, keys and values in it.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Variable { name } => name.len(),
            Self::Variables => 0,
            Self::Resolve { host, .. } => host.len(),
            Self::Connect { scheme, host, .. } => scheme.len() + host.len(),
            Self::Store { store, op } => store.len() + op.bytes(),
            Self::Sql { op, .. } => op.bytes(),
        }
    }
}

impl StoreOp {
    /// Whether it may change what is kept.
    #[must_use]
    pub fn writes(&self) -> bool {
        match self {
            Self::Get(_) | Self::GetMany(_) | Self::Exists(_) | Self::Keys { .. } => false,
            Self::Set(_) | Self::Delete(_) | Self::Increment { .. } | Self::Swap { .. } => true,
        }
    }

    fn bytes(&self) -> usize {
        let keys = |keys: &[String]| keys.iter().map(String::len).sum();
        match self {
            Self::Get(key) | Self::Exists(key) | Self::Increment { key, .. } => key.len(),
            Self::GetMany(many) | Self::Delete(many) => keys(many),
            Self::Keys { after, .. } => after.as_ref().map_or(0, String::len),
            Self::Set(pairs) => pairs
                .iter()
                .map(|(key, value)| key.len() + value.len())
                .sum(),
            Self::Swap {
                key,
                current,
                value,
            } => key.len() + current.as_ref().map_or(0, Vec::len) + value.len(),
        }
    }
}

impl Given {
    /// Bytes of text, keys and values in it.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Done | Self::Flag(_) | Self::Number(_) | Self::Connected => 0,
            Self::Unconnected(why) => why.bytes(),
            Self::Rows(rows) => rows.bytes(),
            Self::Unexecuted(SqlFault::Io(why)) => why.len(),
            Self::Unexecuted(_) => 0,
            Self::Addresses(found) => size_of_val(found.as_slice()),
            Self::Value(value) => value.as_ref().map_or(0, Vec::len),
            Self::Values(values) => values.iter().flatten().map(Vec::len).sum(),
            Self::Keys(keys) => keys.iter().map(String::len).sum(),
            Self::Text(text) => text.len(),
            Self::Variables(all) => all
                .iter()
                .map(|(name, value)| name.len() + value.len())
                .sum(),
        }
    }
}

/// What came of a call.
#[derive(Debug, Serialize, Deserialize)]
pub struct Reply {
    /// The call's number.
    pub id: u64,
    /// What came of it.
    pub result: Result<Given, Fault>,
}

/// What a call gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Given {
    /// It is done.
    Done,
    /// A value, where there is one.
    Value(Option<Vec<u8>>),
    /// Values in the order of the keys.
    Values(Vec<Option<Vec<u8>>>),
    /// Whether.
    Flag(bool),
    /// A number.
    Number(i64),
    /// Keys in order; there may be more after the last.
    Keys(Vec<String>),
    /// Text.
    Text(String),
    /// Variables by name, at most what a tenant may have: 256 of 16 KiB.
    Variables(Vec<(String, String)>),
    /// A connection: the socket is among the files of the frame, which has one for each of these, in their order.
    Connected,
    /// Addresses; of a name, at least one.
    Addresses(Vec<IpAddr>),
    /// None.
    Unconnected(Unconnected),
    /// What a statement gave.
    Rows(SqlRows),
    /// Nothing, since the statement was not carried out or the connection not opened.
    Unexecuted(SqlFault),
}

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Unconnected {
    /// No grant of the module covers it.
    #[error("no grant of the module covers {0}")]
    NotGranted(String),
    /// The name has no address.
    #[error("no address is known by that name: {0}")]
    NoSuchName(String),
    /// All its addresses are ones that nothing may lead to.
    #[error("{0}")]
    Prohibited(String),
    /// Nobody listens there.
    #[error("the connection was refused by {0}")]
    Refused(String),
    /// There is no way there.
    #[error("no connection: {0}")]
    Unreachable(String),
    /// It took too long.
    #[error("no connection within {0} ms")]
    TimedOut(u64),
    /// The node has too many under way.
    #[error("{0}")]
    TooMany(String),
}

impl Unconnected {
    fn bytes(&self) -> usize {
        match self {
            Self::NotGranted(text)
            | Self::NoSuchName(text)
            | Self::Prohibited(text)
            | Self::Refused(text)
            | Self::Unreachable(text)
            | Self::TooMany(text) => text.len(),
            Self::TimedOut(_) => 0,
        }
    }
}

/// Why a call gave nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Fault {
    /// There is no such thing.
    #[error("{0}")]
    NoSuch(String),
    /// The guest may not.
    #[error("{0}")]
    Denied(String),
    /// What was asked for is not allowed: too long, too much.
    #[error("{0}")]
    Refused(String),
    /// The node cannot now.
    #[error("{0}")]
    Unavailable(String),
}

/// Cuts what is to be sent into frames: each ends with the entry that takes it to [`BATCH_BYTES_MAX`].
pub fn batches<T>(entries: Vec<T>, bytes: impl Fn(&T) -> usize) -> impl Iterator<Item = Vec<T>> {
    let mut entries = entries.into_iter();
    std::iter::from_fn(move || {
        let (mut batch, mut sum) = (Vec::new(), 0);
        for entry in entries.by_ref() {
            sum += bytes(&entry);
            batch.push(entry);
            if sum >= BATCH_BYTES_MAX {
                break;
            }
        }
        (!batch.is_empty()).then_some(batch)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_ends_with_what_fills_it() {
        let sizes = [1, 2, BATCH_BYTES_MAX, 3, BATCH_BYTES_MAX - 3, 4];
        let cut: Vec<Vec<usize>> = batches(sizes.to_vec(), |size| *size).collect();
        assert_eq!(
            cut,
            [
                vec![1, 2, BATCH_BYTES_MAX],
                vec![3, BATCH_BYTES_MAX - 3],
                vec![4]
            ]
        );
        assert_eq!(batches(Vec::<usize>::new(), |size| *size).count(), 0);
    }
}
