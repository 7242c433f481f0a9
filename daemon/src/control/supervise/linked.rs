//! The workers that there are: the one that serves, one that is to follow it, and those that were relieved and finish
//! what they have. Each gets every message: which of them asked for an artifact, and which still looks a route up, is
//! nobody's to know.

use std::os::fd::OwnedFd;

use tokio::sync::mpsc;

use super::{Standing, WAITING_MESSAGES_MAX};
use crate::confine::InForce;
use crate::link::ToWorker;

/// A message on its way to a worker.
pub(super) struct Outgoing {
    pub(super) message: ToWorker,
    pub(super) files: Vec<OwnedFd>,
}

impl From<ToWorker> for Outgoing {
    fn from(message: ToWorker) -> Self {
        Self {
            message,
            files: Vec::new(),
        }
    }
}

impl Outgoing {
    /// For one more worker; `None` where no descriptor is left.
    fn again(&self) -> Option<Self> {
        let files = self.files.iter().map(OwnedFd::try_clone);
        Some(Self {
            message: self.message.clone(),
            files: files.collect::<Result<_, _>>().ok()?,
        })
    }
}

/// A worker that was started and has not ended.
pub(super) struct Linked {
    pub(super) number: u64,
    pub(super) pid: u32,
    /// `None` once it was given up.
    pub(super) queue: Option<mpsc::Sender<Outgoing>>,
    /// There once it said so.
    pub(super) user: Option<u32>,
    /// There once it accepts.
    pub(super) in_force: Option<InForce>,
    pub(super) table_revision: u64,
    pub(super) instances: u64,
    pub(super) resident_modules: u64,
}

impl Linked {
    pub(super) fn new(number: u64, pid: u32, queue: mpsc::Sender<Outgoing>) -> Self {
        Self {
            number,
            pid,
            queue: Some(queue),
            user: None,
            in_force: None,
            table_revision: 0,
            instances: 0,
            resident_modules: 0,
        }
    }

    fn send(&mut self, message: Outgoing) {
        let Some(queue) = &self.queue else { return };
        if let Err(mpsc::error::TrySendError::Full(_)) = queue.try_send(message) {
            tracing::error!(
                pid = self.pid,
                WAITING_MESSAGES_MAX,
                "the worker takes no messages; replacing it"
            );
            // Dropping the sender ends the link, and with it the worker.
            self.queue = None;
        }
    }

    /// As it is shown while it serves.
    pub(super) fn show(&self, standing: &mut Standing) {
        standing.pid = self.pid;
        standing.user = self.user;
        standing.ready = self.in_force.is_some();
        standing.in_force = self.in_force.unwrap_or_default();
        standing.table_revision = self.table_revision;
        standing.instances = self.instances;
        standing.resident_modules = self.resident_modules;
    }
}

/// Sends a message to each.
pub(super) fn send_to(workers: &mut [Linked], message: Outgoing) {
    let Some((last, others)) = workers.split_last_mut() else {
        return;
    };
    for worker in others {
        if let Some(message) = message.again() {
            worker.send(message);
        }
    }
    last.send(message);
}
