//! How an upload goes on, on standard error where that is a terminal.

use std::io::{IsTerminal as _, Write as _};

use crate::view::JobState;

/// A line that is written over and over; silent where nobody watches.
#[derive(Debug, Clone, Copy)]
pub(super) struct Progress {
    shown: bool,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self {
            shown: std::io::stderr().is_terminal(),
        }
    }

    pub(super) fn sent(self, bytes: u64, total: u64) {
        let percent = (bytes * 100).checked_div(total).unwrap_or(100);
        self.line(&format!(
            "sent {} of {} KiB ({percent} %)",
            bytes.div_ceil(1024),
            total.div_ceil(1024)
        ));
    }

    pub(super) fn job(self, state: &JobState) {
        match state {
            JobState::Queued { position } => {
                self.line(&format!("waiting for the compiler, {position} ahead"));
            }
            JobState::Compiling { running_ms } => {
                self.line(&format!("compiling for {} s", running_ms / 1000));
            }
            JobState::Done { .. } | JobState::Failed { .. } => self.clear(),
        }
    }

    pub(super) fn clear(self) {
        if self.shown {
            // A terminal that has gone away does not end an upload.
            let _ = write!(std::io::stderr(), "\r\x1b[2K");
        }
    }

    fn line(self, text: &str) {
        if self.shown {
            let _ = write!(std::io::stderr(), "\r\x1b[2K{text}");
        }
    }
}
