//! From an uploaded component to native code that may be mapped.
//!
//! Takes the bytes of a component whose signature was checked; promises that only what this node's own compile child
//! made is ever mapped, and that its authentication was checked on the very file that is passed to a worker. Never
//! runs guest code, and never parses or compiles outside bytes in the process that holds secrets.
//!
//! | Step | Process | Bounded by |
//! | --- | --- | --- |
//! | [`inspect`] | compile child | counts, nesting, the child's limits |
//! | [`compile`] | compile child | CPU, memory, output, wall clock, one at a time |
//! | [`cache`] | control | disk, number of files |
//! | [`load`] | worker | the engine's pool |
//!
//! What an attacker might try, and what stands in the way:
//! - *A component that is costly to read or compile*: both happen in a child with resource limits, at low priority,
//!   first in line for the out-of-memory killer.
//! - *A component that takes over the child through a bug in the parser or code generator*: the child holds two open
//!   files and a socket to control, no secret. It can spoil the artifact of the component that it was given, which
//!   runs in a worker as that component would; artifacts are named by the component's digest, so no other is reached.
//! - *Bytes put into the artifact folder, changed, shortened, renamed, or brought from another node*: the HMAC covers
//!   all bytes, the component's digest and the engine, under a key of this node.
//! - *The file changed between check and use*: the descriptor that was checked is the one that is passed, and nobody
//!   has it open for writing.

pub mod cache;
pub mod compile;
pub mod inspect;
mod load;
pub mod name;

pub use load::load;
