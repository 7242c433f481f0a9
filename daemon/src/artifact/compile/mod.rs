//! The compile child: bytes in, native code out, then gone.
//!
//! Takes an open component and an open file for the result; promises an answer within the wall-clock limit, that the
//! child is dead when the answer is given, and that neither its memory nor its time is this process's. Never parses a
//! byte of the component in the process that asks, never gives the child a path, a secret or the network's sockets.
//!
//! Upstream does not treat exhaustion while compiling as a vulnerability: the limits here are all there is.
//! - *Memory* is bounded by `RLIMIT_DATA`, which counts what a process may write to: heap, thread stacks, anonymous
//!   mappings (a component that takes more than 64 MiB was stopped with 59 MiB resident, at a bound of 256 MiB with
//!   227 MiB). `RLIMIT_AS` would also count address space that is merely reserved (64 MiB for each allocator arena,
//!   the executable, guard regions): the same bound then holds for less, and for another amount on each box. It is
//!   set as well, wider, against reservations without end.
//! - *CPU time* by `RLIMIT_CPU`, over all threads, in whole seconds.
//! - *Output* by a check before it is written, and `RLIMIT_FSIZE` behind that.
//! - *Wall clock* by the parent, which kills the child.
//!
//! The child watches its socket and dies as soon as the parent's end closes. `PR_SET_PDEATHSIG` is not used: it
//! fires when the *thread* that started the child ends, and threads of a runtime's pool do end.

mod child;
mod limits;
mod message;
mod pace;
mod parent;
mod queue;
mod unroll;

pub use child::child_main;
pub use limits::CompileLimits;
pub use pace::{PaceError, module as pace_module, pace};
pub use parent::{CompileJob, CompileReport, Compiler};
pub use queue::{CompileQueue, QueueFull, Ticket, Turn};

use std::io;

use super::inspect::InspectError;

/// Why there is no artifact.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// Not a component that is accepted here.
    #[error("the upload is not a component that this node accepts")]
    Refused(#[source] InspectError),
    /// It imports what is not here.
    #[error(
        "the component imports what this node does not offer: {}",
        listed(names)
    )]
    ImportsNotOffered {
        /// Sorted; at most [`LISTED_NAMES_MAX`].
        names: Vec<String>,
    },
    /// It cannot be called.
    #[error(
        "the component exports neither wasi:http/incoming-handler@0.2 nor wasi:http/handler@0.3; it exports {}",
        listed(names)
    )]
    ExportsNotServed {
        /// Sorted; at most [`LISTED_NAMES_MAX`].
        names: Vec<String>,
    },
    /// The names agree and the types do not.
    #[error("the component does not fit what this node offers: {message}")]
    DoesNotLink {
        /// The first mismatch, one line.
        message: String,
    },
    /// The code generator gave up, or broke.
    #[error("the component does not compile: {message}")]
    DoesNotCompile {
        /// One line.
        message: String,
    },
    /// A limit was reached.
    #[error("compiling the component takes more than the allowed {what}")]
    TooCostly {
        /// Which, with its bound.
        what: Cost,
    },
    /// No word on the component: this node is at fault.
    #[error("the component could not be compiled for a reason of this node's own: {message}")]
    Internal {
        /// For the log.
        message: String,
        /// What the system said, if it did.
        #[source]
        source: Option<io::Error>,
    },
}

/// What compiling may use up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cost {
    /// Seconds of CPU time over all threads.
    CpuTime {
        /// The bound.
        s_max: u32,
    },
    /// Milliseconds from start to answer.
    WallTime {
        /// The bound.
        ms_max: u64,
    },
    /// Bytes the child may write to.
    Memory {
        /// The bound.
        bytes_max: u64,
    },
    /// Bytes of native code.
    Output {
        /// The bound.
        bytes_max: u64,
    },
}

impl std::fmt::Display for Cost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::CpuTime { s_max } => write!(f, "{s_max} s of CPU time"),
            Self::WallTime { ms_max } => write!(f, "{ms_max} ms"),
            Self::Memory { bytes_max } => write!(f, "{bytes_max} bytes of memory"),
            Self::Output { bytes_max } => write!(f, "{bytes_max} bytes of native code"),
        }
    }
}

/// Most names that an error lists.
pub const LISTED_NAMES_MAX: usize = 20;

fn listed(names: &[String]) -> String {
    if names.is_empty() {
        "nothing".to_owned()
    } else {
        names.join(", ")
    }
}
