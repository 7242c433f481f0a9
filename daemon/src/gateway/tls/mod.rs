//! TLS in the worker: which certificate a server name gets, and handshakes without private keys.
//!
//! Takes connections on sockets for TLS, chains and names from the routing table. Promises that a private key is never
//! here (each signature is asked for, [`remote_key`]), that a handshake blocks neither the thread that owns connections
//! nor a guest ([`handshake`]), that a tenant's certificate is not served for a hostname that another tenant routes
//! ([`certificates`]), and that the number and time of handshakes are bounded. What fails ends as a TLS alert, before
//! any tenant is looked at.

mod certificates;
mod handshake;
mod outcome;
mod remote_key;
mod settings;

pub(super) use certificates::{Certificates, Served};
pub use handshake::Handshakes;
pub(super) use handshake::Secured;
pub use outcome::{HANDSHAKE_BUCKETS_S, HandshakeOutcome};
pub(super) use settings::HTTP2;
pub use settings::{TlsError, TlsSettings};
