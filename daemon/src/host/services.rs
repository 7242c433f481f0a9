//! The worker's end of the link for services: guests' calls go out in batches, replies find who waits for them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, mpsc, oneshot};

use super::outbound::Trust;
use crate::link::services::{
    Ask, BATCH_MAX, CALL_BYTES_MAX, Call, Fault, Given, Reply, Unconnected, batches,
};
use crate::link::sql::SqlOp;
use crate::link::{FrameError, LinkReader, LinkWriter};

/// Most calls under way whose answers may have megabytes each (all variables of a module), of all guests of a worker.
const LARGE_UNDER_WAY_MAX: usize = 4;
/// Most calls under way, of all guests of a worker: what waits for a place waits in the guest.
const UNDER_WAY_MAX: usize = 1024;
/// As many connections are made at a time, beside those calls: they take as long as others let them.
const CONNECTING_MAX: usize = 512;

/// As many calls of connections to databases, beside those calls: a statement may take seconds.
const SQL_MAX: usize = 1024;

/// What a call gave, with the file that came along.
type Answer = Result<(Given, Option<OwnedFd>), Fault>;
type Waiting = HashMap<u64, oneshot::Sender<Answer>>;

/// Where guests' calls go.
pub struct Services {
    outgoing: mpsc::Sender<Call>,
    waiting: Mutex<Waiting>,
    places: Semaphore,
    large_places: Semaphore,
    connecting: Semaphore,
    /// Calls of connections to databases, and their ends, in the order of each. As many as connections: each has one
    /// statement under way and ends once, and control bounds how many there are.
    sql: mpsc::UnboundedSender<Call>,
    sql_calls: Mutex<Option<mpsc::UnboundedReceiver<Call>>>,
    sql_places: Semaphore,
    next_id: AtomicU64,
    trust: Trust,
}

impl Services {
    /// The end for guests, and what [`Self::run`] takes. Guests' TLS believes whom `trust` names.
    #[must_use]
    pub fn new(trust: Trust) -> (Arc<Self>, mpsc::Receiver<Call>) {
        let (outgoing, calls) = mpsc::channel(UNDER_WAY_MAX);
        let (sql, sql_calls) = mpsc::unbounded_channel();
        let services = Self {
            outgoing,
            waiting: Mutex::default(),
            places: Semaphore::new(UNDER_WAY_MAX),
            large_places: Semaphore::new(LARGE_UNDER_WAY_MAX),
            connecting: Semaphore::new(CONNECTING_MAX),
            sql,
            sql_calls: Mutex::new(Some(sql_calls)),
            sql_places: Semaphore::new(SQL_MAX),
            next_id: AtomicU64::new(0),
            trust,
        };
        (Arc::new(services), calls)
    }

    /// Whom guests' TLS believes.
    pub(super) fn trust(&self) -> &Trust {
        &self.trust
    }

    /// Asks control for something on behalf of a guest.
    ///
    /// # Errors
    /// [`Fault`]; [`Fault::Unavailable`] where there is no control to ask.
    ///
    /// # Cancel safety
    /// Dropped, nobody waits for the reply; what was asked for may be done or not.
    pub async fn call(&self, tenant: &str, module: &str, ask: Ask) -> Result<Given, Fault> {
        let bytes = ask.bytes();
        if bytes > CALL_BYTES_MAX {
            return Err(Fault::Refused(format!(
                "{bytes} bytes in one call; allowed: {CALL_BYTES_MAX}"
            )));
        }
        // First, so that none waits for it in a place that others could use.
        let _large = match ask {
            Ask::Variables => Some(self.large_places.acquire().await.map_err(|_| gone())?),
            // Connections have places of their own.
            Ask::Variable { .. }
            | Ask::Store { .. }
            | Ask::Sql { .. }
            | Ask::Resolve { .. }
            | Ask::Connect { .. } => None,
        };
        let _place = self.places.acquire().await.map_err(|_| gone())?;
        let (given, _) = self.ask(tenant, module, ask).await?;
        Ok(given)
    }

    /// Asks control for a connection on behalf of a guest; the socket does not block.
    ///
    /// # Errors
    /// [`Fault::Unavailable`] where there is no control to ask.
    ///
    /// # Cancel safety
    /// Dropped, the connection is closed should it still be made.
    pub(super) async fn connect(
        &self,
        tenant: &str,
        module: &str,
        ask: Ask,
    ) -> Result<Result<OwnedFd, Unconnected>, Fault> {
        let _place = self.connecting.acquire().await.map_err(|_| gone())?;
        match self.ask(tenant, module, ask).await? {
            (Given::Connected, Some(socket)) => Ok(Ok(socket)),
            (Given::Unconnected(why), _) => Ok(Err(why)),
            (given, _) => Err(Fault::Unavailable(format!(
                "the node gave {given:?} for a connection"
            ))),
        }
    }

    /// Asks control for the addresses of a name on behalf of a guest.
    ///
    /// # Errors
    /// [`Fault::Unavailable`] where there is no control to ask.
    ///
    /// # Cancel safety
    /// Dropped, nobody waits for the reply.
    pub(super) async fn resolve(
        &self,
        tenant: &str,
        module: &str,
        ask: Ask,
    ) -> Result<Result<Vec<IpAddr>, Unconnected>, Fault> {
        let _place = self.connecting.acquire().await.map_err(|_| gone())?;
        match self.ask(tenant, module, ask).await? {
            (Given::Addresses(found), _) => Ok(Ok(found)),
            (Given::Unconnected(why), _) => Ok(Err(why)),
            (given, _) => Err(Fault::Unavailable(format!(
                "the node gave {given:?} for addresses"
            ))),
        }
    }

    /// A number for a connection to a database, of those of this worker its own.
    pub(super) fn connection_number(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Asks control for something of a connection to a database on behalf of a guest.
    ///
    /// # Errors
    /// [`Fault`]; [`Fault::Unavailable`] where there is no control to ask.
    ///
    /// # Cancel safety
    /// Dropped, nobody waits for the reply; what was asked for may be done or not.
    pub(super) async fn sql(
        &self,
        tenant: &str,
        module: &str,
        (connection, op): (u64, SqlOp),
    ) -> Result<Given, Fault> {
        let ask = Ask::Sql { connection, op };
        let bytes = ask.bytes();
        if bytes > CALL_BYTES_MAX {
            return Err(Fault::Refused(format!(
                "{bytes} bytes in one call; allowed: {CALL_BYTES_MAX}"
            )));
        }
        let _place = self.sql_places.acquire().await.map_err(|_| gone())?;
        let (call, reply, _entry) = self.entered(tenant, module, ask);
        self.sql.send(call).map_err(|_| gone())?;
        let (given, _) = reply.await.unwrap_or_else(|_| Err(gone()))?;
        Ok(given)
    }

    /// Tells control that a connection to a database is closed. Waits for nothing.
    pub(super) fn close_sql(&self, tenant: &str, module: &str, connection: u64) {
        let op = SqlOp::Close;
        // With the link, control closes all of them.
        let _ = self.sql.send(Call {
            id: self.next_id.fetch_add(1, Ordering::Relaxed),
            tenant: tenant.to_owned(),
            module: module.to_owned(),
            ask: Ask::Sql { connection, op },
        });
    }

    async fn ask(&self, tenant: &str, module: &str, ask: Ask) -> Answer {
        let (call, reply, _entry) = self.entered(tenant, module, ask);
        self.outgoing.send(call).await.map_err(|_| gone())?;
        reply.await.unwrap_or_else(|_| Err(gone()))
    }

    /// A call that is waited for as long as its entry is there.
    fn entered(
        &self,
        tenant: &str,
        module: &str,
        ask: Ask,
    ) -> (Call, oneshot::Receiver<Answer>, Entry<'_>) {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, reply) = oneshot::channel();
        self.waiting().insert(id, sender);
        let call = Call {
            id,
            tenant: tenant.to_owned(),
            module: module.to_owned(),
            ask,
        };
        (call, reply, Entry { services: self, id })
    }

    /// Carries calls and replies until the link ends.
    pub async fn run(
        self: Arc<Self>,
        mut calls: mpsc::Receiver<Call>,
        mut reader: LinkReader,
        mut writer: LinkWriter,
    ) {
        let taken = self.sql_calls.lock();
        let sql_calls = taken.unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut sql_calls) = sql_calls else {
            tracing::error!("the link for services was run twice");
            return;
        };
        let send = async {
            let (mut batch, mut sql_batch) = (Vec::new(), Vec::new());
            loop {
                let count = tokio::select! {
                    count = calls.recv_many(&mut batch, BATCH_MAX) => count,
                    count = sql_calls.recv_many(&mut sql_batch, BATCH_MAX) => count,
                };
                if count == 0 {
                    break;
                }
                batch.append(&mut sql_batch);
                for calls in batches(std::mem::take(&mut batch), |call| call.ask.bytes()) {
                    writer.send(&calls, &[]).await?;
                }
            }
            Ok::<_, FrameError>(())
        };
        let receive = async {
            loop {
                let (replies, files) = reader.receive::<Vec<Reply>>().await?;
                let mut files = files.into_iter();
                let mut waiting = self.waiting();
                for Reply { id, result } in replies {
                    let file = match &result {
                        Ok(Given::Connected) => files.next(),
                        _ => None,
                    };
                    // Whoever gave up has taken its entry away, and the file is closed.
                    if let Some(sender) = waiting.remove(&id) {
                        drop(sender.send(result.map(|given| (given, file))));
                    }
                }
            }
        };
        let ended: Result<((), ()), FrameError> =
            futures_util::future::try_join(send, receive).await;
        if let Err(error) = ended {
            tracing::debug!(%error, "the link for services ended");
        }
        calls.close();
        self.waiting().clear();
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn gone() -> Fault {
    Fault::Unavailable("the node is going down".to_owned())
}

/// A call under way.
struct Entry<'a> {
    services: &'a Services,
    id: u64,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.services.waiting().remove(&self.id);
    }
}
