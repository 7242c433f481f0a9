//! How a guest ended, and what that amounts to.

use std::fmt::Write as _;

use wasmtime::{PoolConcurrencyLimitError, WasmBacktrace};

use super::instance::Live;
use super::limits::MemoryRefused;
use crate::quota::Refusal;

/// How a guest ended.
pub struct GuestEnd {
    /// What wasmtime says.
    pub result: wasmtime::Result<()>,
    /// Whether it was refused memory on the way.
    pub memory_refused: MemoryRefused,
    /// Whether there was ever an instance: without, what failed was making one.
    pub started: bool,
    /// The limit that it was ended for, where that is how.
    pub killed: Option<Refusal>,
    /// What it leaves behind.
    pub remains: Option<Remains>,
    /// Its instance, where that may serve another request.
    pub live: Option<Live>,
}

/// What an ended guest leaves behind: its store, with its memory. Dropping it takes a while, and ends the guest's bodies;
/// whoever reads those must know by then how the guest ended.
pub struct Remains(#[expect(dead_code, reason = "it is there to be dropped")] Box<dyn Send>);

impl Remains {
    /// Of anything that a guest lived in.
    pub fn of(guest: impl Send + 'static) -> Self {
        Self(Box::new(guest))
    }
}

impl GuestEnd {
    /// The end of a request in an instance that serves others too.
    pub(super) fn of_shared(result: wasmtime::Result<()>, memory_refused: MemoryRefused) -> Self {
        Self {
            result,
            memory_refused,
            started: true,
            killed: None,
            remains: None,
            live: None,
        }
    }

    /// The end of a guest that was ended for what it did.
    #[must_use]
    pub fn killed(refusal: Refusal, why: String) -> Self {
        Self {
            result: Err(wasmtime::Error::msg(why)),
            memory_refused: MemoryRefused::No,
            started: true,
            killed: Some(refusal),
            remains: None,
            live: None,
        }
    }

    /// The refusal that a guest's end amounts to where it gave no answer, with what to tell its tenant, line by line.
    #[must_use]
    pub fn refusal(&self) -> (Refusal, String) {
        if let (Some(refusal), Err(error)) = (self.killed, &self.result) {
            return (refusal, error.to_string());
        }
        match &self.result {
            Ok(()) => (
                Refusal::NoResponse,
                "the guest returned without an answer".to_owned(),
            ),
            Err(error) if error.is::<PoolConcurrencyLimitError>() => (
                Refusal::Instances,
                "the node has no instance left".to_owned(),
            ),
            Err(_) if !self.started && self.memory_refused == MemoryRefused::ByQuota => (
                Refusal::MemoryUsedUp,
                "the tenant or the node has no memory left for one more instance".to_owned(),
            ),
            Err(error) if self.memory_refused != MemoryRefused::No => {
                (Refusal::Memory, told(error))
            }
            Err(error) => (Refusal::Trap, told(error)),
        }
    }
}

/// What happened first, then where, innermost call first.
fn told(error: &wasmtime::Error) -> String {
    let mut text = error.root_cause().to_string();
    let frames = error
        .downcast_ref::<WasmBacktrace>()
        .map(WasmBacktrace::frames)
        .unwrap_or_default();
    for frame in frames {
        let _ = match frame.func_name() {
            Some(name) => write!(text, "\n  in {name}"),
            None => write!(text, "\n  in wasm function {}", frame.func_index()),
        };
    }
    text
}
