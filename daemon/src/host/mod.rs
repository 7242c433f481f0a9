//! What guests may call.
//!
//! Takes an engine, gives a linker; promises that a guest reaches nothing but clocks, random bytes, its own standard
//! streams and its own request unless a grant says so; never opens a file or a socket for one.

mod capabilities;
mod clock;
mod config;
mod databases;
mod files;
mod hooks;
mod key_value;
mod linker;
mod outbound;
mod program;
mod services;
mod sockets;
mod sql;
mod state;
mod stdio;
#[cfg(test)]
mod tests;
mod variables;
mod wasi_keyvalue;

pub use capabilities::Capabilities;
pub use clock::ClockResolution;
pub use files::Files;
pub(crate) use hooks::Hooks;
pub use linker::{Grant, grant_for, linker, offers};
pub use outbound::Trust;
pub(crate) use program::{Program, ProgramInput, ProgramOutput, Written};
pub use services::Services;
pub use state::{GuestOptions, GuestState, NextRequest};
pub use stdio::{GuestLog, GuestStream};
