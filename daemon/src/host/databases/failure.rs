//! Why a call of a database came to nothing: for the guest, for its tenant's log, and for metrics.

use crate::host::outbound;
use crate::link::services::{Fault, Unconnected};
use crate::quota::Outcome;

/// Each way in which one fails that is not the database's own answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// Not an address of such a server. What was given may have a password in it and is not repeated.
    #[error("not an address: {0}")]
    Address(String),
    /// More than one instance may have open.
    #[error("the guest has {0} connections to databases open; allowed at once: {0}")]
    TooManyOpen(usize),
    /// There is no connection, or it broke.
    #[error(transparent)]
    Outbound(outbound::Failure),
    /// The server does not let the guest in, and says why.
    #[error("the server refuses: {0}")]
    Refused(String),
    /// What came is not what such a server says.
    #[error("what came is no answer of a {0} server: {1}")]
    Garbage(&'static str, String),
    /// What is to be sent.
    #[error("the call has {0} bytes; allowed: {1}")]
    SentTooLarge(u64, u64),
    /// What came.
    #[error("the answer has more than {0} bytes, which is allowed")]
    ReceivedTooLarge(u64),
    /// The answer did not end.
    #[error("the server did not answer within {0} ms")]
    NoAnswer(u64),
    /// A call that failed, or that nobody waited for, left it where nobody knows what comes next.
    #[error("the connection was closed with an earlier call that did not end")]
    Closed,
    /// What is asked for and not done here.
    #[error("{0}")]
    NotOffered(String),
}

impl From<outbound::Failure> for Failure {
    fn from(why: outbound::Failure) -> Self {
        Self::Outbound(why)
    }
}

impl From<Unconnected> for Failure {
    fn from(why: Unconnected) -> Self {
        Self::Outbound(why.into())
    }
}

impl From<Fault> for Failure {
    fn from(why: Fault) -> Self {
        Self::Outbound(why.into())
    }
}

impl Failure {
    /// The connection ended.
    pub(super) fn broken(why: &std::io::Error) -> Self {
        Self::Outbound(outbound::Failure::BrokenOff(why.to_string()))
    }

    /// As metrics have it.
    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Self::Address(_) | Self::Closed | Self::NotOffered(_) => Outcome::Invalid,
            Self::TooManyOpen(_) => Outcome::Limit,
            Self::Outbound(why) => why.outcome(),
            // It did answer.
            Self::Refused(_) => Outcome::Answered,
            Self::Garbage(..) => Outcome::Protocol,
            Self::SentTooLarge(..) | Self::ReceivedTooLarge(_) => Outcome::TooLarge,
            Self::NoAnswer(_) => Outcome::Timeout,
        }
    }

    /// Whether the guest has too many connections already.
    pub(super) fn is_too_many(&self) -> bool {
        use outbound::Failure::{TooMany, TooManyAtOnce, Unconnected as No};
        matches!(
            self,
            Self::TooManyOpen(_)
                | Self::Outbound(TooMany(_) | TooManyAtOnce(_) | No(Unconnected::TooMany(_)))
        )
    }

    /// What the guest is told: no more of the network behind the node than it must know.
    pub(super) fn for_guest(&self) -> String {
        match self {
            Self::Outbound(outbound::Failure::Unconnected(why)) => match why {
                Unconnected::NotGranted(_) | Unconnected::TimedOut(_) => why.to_string(),
                Unconnected::NoSuchName(_) => "no address is known by that name".to_owned(),
                Unconnected::Prohibited(_) => "it leads to no address that is allowed".to_owned(),
                Unconnected::Refused(_) => "the connection was refused".to_owned(),
                Unconnected::Unreachable(_) => "there is no way there".to_owned(),
                Unconnected::TooMany(_) => "too many connections are being made".to_owned(),
            },
            other => other.to_string(),
        }
    }
}
