//! Messages and open files between control and its workers.
//!
//! One Unix stream socket a worker, made by control and handed over as the child's standard input, so that it needs
//! neither a path nor a descriptor number. Postcard messages in length-prefixed frames; open files ride along as
//! `SCM_RIGHTS` (unix(7)). Both ends are of one build: the format has no versions and is never stored.
//!
//! Promises order, and that a file arrives with its frame. Never carries a secret towards a worker.

pub mod flight;
mod frame;
mod message;
mod pieces;
pub mod services;
pub mod signing;
pub mod sql;

pub use frame::{FILES_MAX, FrameBounds, FrameError, LinkReader, LinkWriter, split};
pub use message::{
    ArtifactName, CertificateTarget, GuestLine, HandshakeCounts, ModuleGrants, ModuleTarget, Reuse,
    Supplied, TableChange, TenantCounts, TenantLimits, ToControl, ToWorker, WorkerReport,
    WorkerStart, World,
};
pub use pieces::{Counts, lines_in_one_frame, report, table};
