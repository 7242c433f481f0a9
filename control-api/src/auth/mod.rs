//! Who is asking, and what they may.
//!
//! Takes the `Authorization` header and the clock; gives a [`Principal`] or an [`AuthError`] with its challenge
//! (RFC 6750 §3). Promises that the algorithm comes from the trusted key and never from the token, and that nothing of
//! a token is believed before its signature verifies. Never asks the plane.

mod authenticator;
mod error;
mod jwks;
mod jwks_url;
mod scope;
mod verify;

use std::sync::Arc;

pub use authenticator::{AuthOptions, AuthSetupError, Authenticator};
pub use error::{AuthError, TokenFault};
pub use jwks::{KEYS_MAX, KeyError, TrustedKeys};
pub use jwks_url::{FetchError, JwksUrl, UNKNOWN_KID_WAIT_S};
pub use scope::{Need, Principal, Scope};

/// The wall clock: seconds since 1970-01-01 UTC. Passed in, so that tests own time.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The machine's wall clock; a clock before 1970 reads as 0, so that every token is then not yet valid.
pub fn system_clock() -> Clock {
    Arc::new(|| {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs())
    })
}
