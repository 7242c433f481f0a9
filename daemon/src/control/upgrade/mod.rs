//! A new program takes this process's place, without a connection refused or a request lost.
//!
//! The old control starts the new one and passes it its listening sockets over a link, which is the new one's standard
//! input. Until the new one's worker accepts connections, the old one serves guests as ever and only holds changes back:
//! the store can be open in one process. Then the new one is the node; the old one's workers accept no more and finish what
//! they have, and the old control stays with them for as long, since their guests' calls and handshakes are answered by it
//! from what it has in memory. Where the new one fails before that, the old one opens the store again and goes on.

mod predecessor;
mod successor;

use std::ffi::OsString;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub(super) use predecessor::Sockets;
pub use successor::{Predecessor, TakeOverError};

/// What both sides say has this number: a program that speaks another does not take over.
pub const PROTOCOL: u32 = 1;

/// How the new process is started: this process's own program, as it is on the disk by then.
#[derive(Debug, Clone)]
pub struct Restart {
    /// Where the program lies.
    pub program: PathBuf,
    /// What follows its name; that it is to take over is added.
    pub arguments: Vec<OsString>,
}

/// From the one that runs to the one that is to follow.
#[derive(Debug, Serialize, Deserialize)]
enum ToSuccessor {
    /// First. The frame carries the sockets in this order.
    Sockets {
        /// The data of the node: it must be the same.
        data_dir: PathBuf,
        /// Sockets for plain HTTP.
        http: u32,
        /// Whether a service manager has those too.
        http_passed: bool,
        /// Sockets for TLS.
        https: u32,
        /// Those of the admin API: whether each is a Unix socket.
        admin_unix: Vec<bool>,
        /// Whether a service manager has those too.
        admin_passed: bool,
        /// Who wants it, for the audit log.
        who: String,
        /// The request that did.
        request_id: String,
        /// The version of the one that runs.
        version: String,
    },
    /// The store was closed here.
    StoreIsFree,
    /// The new one is the node.
    Serve,
}

/// From the one that is to follow.
#[derive(Debug, Serialize, Deserialize)]
enum ToPredecessor {
    /// The configuration holds, and the store is wanted.
    WantsStore {
        /// Its version.
        version: String,
    },
    /// The new worker accepts connections.
    Accepts,
}
