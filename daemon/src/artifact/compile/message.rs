//! What control and its compile child say to each other, in frames of [`crate::link`].

use serde::{Deserialize, Serialize};

use super::limits::CompileLimits;
use crate::artifact::inspect::{InspectError, Inspection};
use crate::artifact::name::CompatHash;
use crate::confine::Orders;
use crate::engine::EngineShape;

/// To the child, once. The frame carries the component, and the file for the result where one is asked for.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) limits: CompileLimits,
    pub(super) orders: Orders,
    pub(super) component_bytes: u64,
    /// `None`: inspect only.
    pub(super) shape: Option<EngineShape>,
}

/// From the child: [`Answer::Inspected`] and, where a shape was given, one of the others after it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    Inspected(Result<Inspection, InspectError>),
    Compiled(Compiled),
    Failed(Failure),
}

/// The result is in the file.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Compiled {
    pub(super) compat: CompatHash,
    pub(super) artifact_bytes: u64,
    pub(super) cpu_ms: u64,
    pub(super) peak_rss_bytes: u64,
}

/// What the child can still tell by itself.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Failure {
    ImportsNotOffered(Vec<String>),
    ExportsNotServed(Vec<String>),
    DoesNotLink(String),
    DoesNotCompile(String),
    OutOfMemory,
    OutputTooLarge,
    Internal(String),
}
