//! A guest's connection to a database, from where it is asked for to where it is closed or kept.
//!
//! One call at a time: what a guest of 0.3 asks for meanwhile waits its turn. Whoever has the turn has the connection
//! itself in hand, so that a call which is dropped, fails or takes too long takes the connection with it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};

use super::failure::Failure;
use super::pool::Pool;
use super::wire::Wire;
use crate::host::capabilities::Capabilities;
use crate::host::outbound;
use crate::host::state::GuestState;
use crate::host::stdio::GuestLog;
use crate::link::services::{Ask, Unconnected};
use crate::quota::{OutboundPlace, Outcome};

/// Most connections to databases that one instance has open.
pub(in crate::host) const OPEN_MAX: usize = 16;

/// Where a server is.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// As grants have it; any of these will do, and the first is what it is called.
    pub(super) schemes: &'static [&'static str],
    /// A name in normal form, or an address without brackets.
    pub(super) host: String,
    /// The port.
    pub(super) port: u16,
}

impl Place {
    fn called(&self) -> String {
        let scheme = self.schemes.first().copied().unwrap_or_default();
        format!("{scheme}://{}:{}", self.host, self.port)
    }
}

/// What a guest names a server by, with whom it is there.
pub(super) trait Address: Eq + Send + Sync + Sized + 'static {
    /// Where.
    fn place(&self) -> &Place;
}

/// What is spoken with one kind of server, on one connection.
pub(super) trait Protocol: Send + Sized + 'static {
    /// Whom with.
    type Address: Address;
    /// What is sent in one call.
    type Ask: Send;
    /// What the server says to it, its refusals included.
    type Answer: Send;

    /// Makes oneself known on a new connection.
    fn begin(
        wire: Wire,
        address: &Self::Address,
        capabilities: &Capabilities,
    ) -> impl Future<Output = Result<Self, Failure>> + Send;

    /// Makes sure that a kept connection is as a new one.
    fn again(&mut self) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Bytes that are sent in a call.
    fn bytes(ask: &Self::Ask) -> u64;

    /// Asks, and has the whole answer. After a failure nobody knows what comes next.
    fn ask(&mut self, ask: Self::Ask)
    -> impl Future<Output = Result<Self::Answer, Failure>> + Send;

    /// Whether it may be another guest's: whatever was asked left nothing behind on the server's side of it.
    fn is_clean(&self) -> bool;

    /// What it is spoken on.
    fn wire(&self) -> &Wire;

    /// What it is spoken on.
    fn wire_mut(&mut self) -> &mut Wire;

    /// Where those of a module are kept.
    fn pool(capabilities: &Capabilities) -> Option<&Arc<Pool<Self>>>;
}

/// On whose account a call is, and what it may move.
pub(super) struct Caller {
    pub(super) capabilities: Arc<Capabilities>,
    log: Arc<dyn GuestLog>,
    /// Bytes that one call may hand over.
    call_bytes_max: u64,
}

impl Caller {
    /// The guest with this state.
    pub(super) fn of(state: &mut GuestState) -> Self {
        Self {
            capabilities: Arc::clone(&state.capabilities),
            log: state.outbound().log(),
            call_bytes_max: state.hostcall_bytes_max as u64,
        }
    }

    /// What an answer may have, in bytes.
    fn received_max(&self) -> u64 {
        let limits = self.capabilities.tenant().limits();
        limits.outbound_received_bytes_max.min(self.call_bytes_max)
    }

    /// Tells everybody but the guest how it ended.
    fn told<T>(&self, place: Option<&Place>, ended: Result<T, Failure>) -> Result<T, Failure> {
        let account = self.capabilities.tenant().outbound();
        match &ended {
            Ok(_) => account.ended(Outcome::Answered),
            Err(failure) => {
                let target = place.map_or_else(|| "nowhere".to_owned(), Place::called);
                account.ended(failure.outcome());
                self.log.word(&format!(
                    "outgoing call of {target}: {}: {failure}",
                    failure.outcome().name()
                ));
            }
        }
        ended
    }
}

/// What a guest that wants to open a connection has taken for it.
pub(super) struct Opening {
    caller: Caller,
    /// How many requests and connections its own request has made, this one included.
    number: u64,
    open: Arc<Semaphore>,
}

impl Opening {
    /// The guest with this state.
    pub(super) fn of(state: &mut GuestState) -> Self {
        let (number, _) = state.outbound().next();
        Self {
            caller: Caller::of(state),
            number,
            open: Arc::clone(&state.open_databases),
        }
    }

    /// Connects, or takes a connection that was kept.
    ///
    /// # Errors
    /// [`Failure`], counted and logged.
    ///
    /// # Cancel safety
    /// Dropped, the connection is closed.
    pub(super) async fn open<P: Protocol>(
        self,
        address: Result<P::Address, Failure>,
    ) -> Result<Arc<Opened<P>>, Failure> {
        let address = match address {
            Ok(address) => Arc::new(address),
            Err(failure) => return self.caller.told(None, Err(failure)),
        };
        let opened = self.opened(&address).await;
        self.caller.told(Some(address.place()), opened)
    }

    async fn opened<P: Protocol>(
        &self,
        address: &Arc<P::Address>,
    ) -> Result<Arc<Opened<P>>, Failure> {
        let capabilities = &self.caller.capabilities;
        let place = address.place();
        let not_granted = || Unconnected::NotGranted(place.called());
        let granted = place.schemes.iter().find(|scheme| {
            let outbound = capabilities.outbound();
            outbound.is_some_and(|outbound| outbound.covers_as(scheme, &place.host, place.port))
        });
        let scheme = granted.ok_or_else(not_granted)?;
        let pool = P::pool(capabilities).ok_or_else(not_granted)?;
        let limits = capabilities.tenant().limits();
        if self.number > limits.outbound_per_request_max {
            return Err(outbound::Failure::TooMany(limits.outbound_per_request_max).into());
        }
        let permit = Arc::clone(&self.open).try_acquire_owned();
        let permit = permit.map_err(|_| Failure::TooManyOpen(OPEN_MAX))?;
        let most = limits.outbound_at_once_max;
        let counted = capabilities.tenant().outbound().place(most);
        let counted = counted.ok_or(outbound::Failure::TooManyAtOnce(most))?;
        let ms_max = limits.outbound_connect_ms_max;
        let until = Instant::now() + Duration::from_millis(ms_max);
        let client = async {
            while let Some(mut kept) = pool.take(address) {
                kept.wire_mut().expect(self.caller.received_max());
                // The server may have closed it just now.
                if kept.again().await.is_ok() {
                    return Ok(kept);
                }
            }
            let ask = Ask::Connect {
                scheme: (*scheme).to_owned(),
                host: place.host.clone(),
                port: place.port,
                ms_max,
            };
            let socket = capabilities.connect(ask).await??;
            let stream = TcpStream::from_std(std::net::TcpStream::from(socket))
                .map_err(|error| Unconnected::Unreachable(error.to_string()))?;
            let account = Arc::clone(capabilities.tenant().outbound());
            account.connected();
            let mut wire = Wire::new(stream, account);
            wire.expect(self.caller.received_max());
            P::begin(wire, address, capabilities).await
        };
        let client = tokio::time::timeout_at(until.into(), client).await;
        let client = client.map_err(|_| Unconnected::TimedOut(ms_max))??;
        Ok(Arc::new(Opened {
            client: Mutex::new(Some(client)),
            address: Arc::clone(address),
            pool: Arc::clone(pool),
            _counted: counted,
            _permit: permit,
        }))
    }
}

/// A connection that a guest has open.
pub(super) struct Opened<P: Protocol> {
    /// Nothing once a call on it failed or was dropped.
    client: Mutex<Option<P>>,
    address: Arc<P::Address>,
    pool: Arc<Pool<P>>,
    _counted: OutboundPlace,
    _permit: OwnedSemaphorePermit,
}

impl<P: Protocol> Opened<P> {
    /// Asks the server, once it is this call's turn.
    ///
    /// # Errors
    /// [`Failure`], counted and logged; after most of them the connection is closed.
    ///
    /// # Cancel safety
    /// Dropped, the connection is closed.
    pub(super) async fn call(&self, caller: &Caller, ask: P::Ask) -> Result<P::Answer, Failure> {
        let answered = self.answered(caller, ask).await;
        caller.told(Some(self.address.place()), answered)
    }

    async fn answered(&self, caller: &Caller, ask: P::Ask) -> Result<P::Answer, Failure> {
        let limits = caller.capabilities.tenant().limits();
        let (bytes, most) = (P::bytes(&ask), limits.outbound_sent_bytes_max);
        if bytes > most {
            return Err(Failure::SentTooLarge(bytes, most));
        }
        let ms_max = limits.outbound_ms_max;
        let asking = async {
            let mut place = self.client.lock().await;
            let mut client = place.take().ok_or(Failure::Closed)?;
            client.wire_mut().expect(caller.received_max());
            let answer = client.ask(ask).await?;
            *place = Some(client);
            Ok(answer)
        };
        let asking = tokio::time::timeout(Duration::from_millis(ms_max), asking);
        asking.await.unwrap_or(Err(Failure::NoAnswer(ms_max)))
    }
}

impl<P: Protocol> Drop for Opened<P> {
    fn drop(&mut self) {
        if let Some(client) = self.client.get_mut().take()
            && client.is_clean()
        {
            self.pool.put(client, Arc::clone(&self.address));
        }
    }
}
