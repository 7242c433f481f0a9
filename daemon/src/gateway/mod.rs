//! From a socket to a guest and back.
//!
//! Takes connections on sockets that control made; promises that a request reaches only the tenant its hostname
//! routes to, that every answer in a guest's place names one reason from the closed list and nothing of the inside,
//! and that a client that goes away ends the guest. A request crosses no thread and touches no lock that all tenants
//! share.

mod accept;
mod body;
mod buffers;
mod clients;
mod compute;
mod exchange;
mod forwarded;
mod frames;
mod guest;
mod hosts;
mod http2;
mod leave;
mod lingering;
mod log;
mod overdue;
mod preface;
mod request_head;
mod request_id;
mod respond;
mod response_head;
mod serve;
mod spin;
mod table;
mod tls;

pub use accept::{Acceptor, Settings};
pub use buffers::Buffers;
pub use compute::{Compute, Habit};
pub use forwarded::TrustedProxies;
pub use leave::Leave;
pub use log::LineSender;
pub use request_id::RequestIds;
pub use serve::{Gateway, GatewayParts};
pub use table::{Route, Table, TableBuilder};
pub use tls::{HANDSHAKE_BUCKETS_S, HandshakeOutcome, Handshakes, TlsError, TlsSettings};
