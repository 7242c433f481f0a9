//! What can go wrong between a client and a node.

use std::path::PathBuf;

use crate::error::Problem;

/// Why a call brought no result.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address cannot be used.
    #[error("the address `{admin}` cannot be used: {why}")]
    Address {
        /// The address as given.
        admin: String,
        /// What is wrong with it.
        why: String,
    },
    /// The token cannot be sent in a header.
    #[error("the token has characters that no token has")]
    Token,
    /// No answer.
    #[error("the node at {admin} does not answer")]
    Unreachable {
        /// The address.
        admin: String,
        /// What happened.
        #[source]
        source: reqwest::Error,
    },
    /// The node refused.
    #[error("{}: {}", .0.title, .0.detail)]
    Problem(Box<Problem>),
    /// An answer outside the contract, as from something else that listens there.
    #[error("{admin} gave an answer that no node gives (status {status}): {why}")]
    Unexpected {
        /// The address.
        admin: String,
        /// Its status.
        status: u16,
        /// What does not fit.
        why: String,
    },
    /// The component's file cannot be read.
    #[error("{} cannot be read", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl ClientError {
    /// The problem, where the node refused.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            ClientError::Problem(problem) => Some(problem),
            _ => None,
        }
    }
}
