//! What a service manager such as systemd and a node say to each other.
//!
//! Takes variables: where notifications go, which sockets were opened beforehand, where credentials lie, how often a sign
//! of life is wanted. Promises that a sign of life is only sent once the loops that keep the node running have answered
//! for it, and that what is passed wrongly is refused before anything is opened. Without those variables a node is one
//! like any other: nothing here is needed to run it. Never starts or stops anything, and never reads a configuration.

mod credentials;
mod inherited;
mod notify;
mod pulse;
mod reports;

use std::time::Duration;

use super::upgrade::Predecessor;

pub use credentials::Credentials;
pub use inherited::{Inherited, InheritedError};
pub use notify::Notifier;
pub(super) use pulse::Pulse;
pub(super) use reports::report;

/// What came from whoever started this process.
#[derive(Default)]
pub struct Service {
    /// Who is told how it goes.
    pub notifier: Option<Notifier>,
    /// How long the manager waits for a sign of life before it takes the node for hung.
    pub watchdog: Option<Duration>,
    /// Sockets that were opened beforehand.
    pub inherited: Inherited,
    /// The process whose place this one takes.
    pub predecessor: Option<Predecessor>,
}

impl Service {
    /// What the environment says. Takes descriptors over, so it comes first and once, while the process has one thread.
    ///
    /// # Errors
    /// [`InheritedError`]; a notification socket that cannot be used is logged by whoever notifies.
    pub fn from_environment() -> Result<Self, InheritedError> {
        Ok(Self {
            notifier: Notifier::from_environment(),
            watchdog: notify::watchdog(),
            inherited: Inherited::from_environment()?,
            predecessor: None,
        })
    }
}
