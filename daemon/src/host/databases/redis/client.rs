//! One connection to Redis, and what is asked on it.

use std::sync::Arc;

use super::super::failure::Failure;
use super::super::pool::Pool;
use super::super::session::Protocol;
use super::super::wire::Wire;
use super::address::Address;
use super::resp::{Refusal, Value, answer, command};
use crate::host::capabilities::Capabilities;

/// One connection to a server.
pub(in crate::host::databases) struct Client {
    wire: Wire,
    is_clean: bool,
}

/// A command as it is sent.
pub(in crate::host::databases) struct Sent {
    pub(super) bytes: Vec<u8>,
    /// Whether the connection is not what it was, after it.
    pub(super) is_stateful: bool,
}

impl Protocol for Client {
    type Address = Address;
    type Ask = Sent;
    type Answer = Result<Vec<Value>, Refusal>;

    async fn begin(
        mut wire: Wire,
        address: &Address,
        capabilities: &Capabilities,
    ) -> Result<Self, Failure> {
        if address.is_tls {
            wire.encrypt(capabilities.trust(), &address.place.host)
                .await?;
        }
        let mut client = Self {
            wire,
            is_clean: true,
        };
        if let Some(password) = &address.password {
            let user = address.user.iter().map(String::as_bytes);
            let parts: Vec<&[u8]> = std::iter::once(&b"AUTH"[..])
                .chain(user)
                .chain([password.as_bytes()])
                .collect();
            client.must(&parts).await?;
        }
        if address.database != 0 {
            let number = address.database.to_string();
            client.must(&[b"SELECT", number.as_bytes()]).await?;
        }
        Ok(client)
    }

    async fn again(&mut self) -> Result<(), Failure> {
        // None is kept that has more to forget than was looked at.
        Ok(())
    }

    fn bytes(ask: &Sent) -> u64 {
        ask.bytes.len() as u64
    }

    async fn ask(&mut self, ask: Sent) -> Result<Self::Answer, Failure> {
        self.is_clean &= !ask.is_stateful;
        self.wire.send(&ask.bytes).await?;
        answer(&mut self.wire).await
    }

    fn is_clean(&self) -> bool {
        self.is_clean
    }

    fn wire(&self) -> &Wire {
        &self.wire
    }

    fn wire_mut(&mut self) -> &mut Wire {
        &mut self.wire
    }

    fn pool(capabilities: &Capabilities) -> Option<&Arc<Pool<Self>>> {
        Some(&capabilities.outbound()?.databases().redis)
    }
}

impl Client {
    /// A command without which the connection is none.
    async fn must(&mut self, parts: &[&[u8]]) -> Result<(), Failure> {
        self.wire.send(&command(parts.iter().copied())).await?;
        let answered = answer(&mut self.wire).await?;
        answered
            .map(drop)
            .map_err(|Refusal(why)| Failure::Refused(why))
    }
}
