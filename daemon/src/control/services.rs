//! What control does for guests: it answers a worker's calls on their behalf.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use control_api::error::PlaneError;
use edge_config::{ModuleName, TenantName};
use tokio::sync::{mpsc, oneshot};

use super::outbound::{self, Connector, Reach, Target};
use super::sql::Sessions;
use super::{Control, blocking};
use crate::link::services::{Ask, BATCH_MAX, Call, Fault, Given, Reply, StoreOp, batches};
use crate::link::sql::SqlOp;
use crate::link::{FrameBounds, FrameError, LinkReader, LinkWriter, split};
use crate::storage::{Allowance, Kept, Reader};

impl Control {
    /// Serves one worker's calls on a thread of its own, until the worker is gone: reads look at the disk there, and
    /// never hold back the API.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub(super) fn serve_calls(self: &Arc<Self>, socket: UnixStream) -> std::io::Result<()> {
        let me = Arc::clone(self);
        let serve = move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_io()
                .enable_time()
                .max_blocking_threads(outbound::LOOKUPS_MAX)
                .build();
            let served = runtime.map_err(FrameError::Io).and_then(|runtime| {
                runtime.block_on(async {
                    let (reader, writer) = split(socket, FrameBounds::SERVICES)?;
                    Calls::new(&me).serve(reader, writer).await
                })
            });
            match served {
                Ok(()) | Err(FrameError::Closed) => {}
                Err(error) => tracing::error!(%error, "the link for guests' calls broke"),
            }
        };
        std::thread::Builder::new()
            .name("services".to_owned())
            .spawn(serve)
            .map(drop)
    }

    /// Removes what a tenant kept. Called when it is gone, and before one of its name comes: the node may have ended
    /// between the two.
    ///
    /// # Errors
    /// [`PlaneError::StoreUnavailable`] where that cannot be made durable.
    pub(super) async fn forget_kept(&self, tenant: &TenantName) -> Result<(), PlaneError> {
        let me = self.me();
        let (name, tenant) = (tenant, tenant.clone());
        let (sender, done) = oneshot::channel();
        blocking(move || {
            let tell = move |outcome| drop(sender.send(outcome));
            match me.as_ref().map(|me| me.storage.kept(tenant.as_str())) {
                None => {}
                Some(Ok(Kept { keys: 0, bytes: 0 })) => tell(Ok(Given::Done)),
                Some(Ok(_)) => {
                    if let Some(me) = me {
                        me.storage.forget(tenant.as_str(), Box::new(tell));
                    }
                }
                Some(Err(fault)) => tell(Err(fault)),
            }
        })
        .await?;
        match done.await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) | Err(_) => return Err(PlaneError::StoreUnavailable),
        }
        self.databases.forget(name.as_str()).await.map_err(|error| {
            tracing::error!(%error, "a tenant's databases cannot be removed");
            PlaneError::StoreUnavailable
        })
    }

    /// What a tenant may keep; nothing where there is no such tenant.
    pub(super) fn allowance(&self, tenant: &str) -> Option<Allowance> {
        let tenant: TenantName = tenant.parse().ok()?;
        let state = self.read();
        let limits = &state.tenants.get(&tenant)?.limits;
        Some(Allowance {
            keys_max: limits.key_value_keys_max,
            bytes_max: limits.key_value_kib_max << 10,
            value_bytes_max: limits.key_value_value_kib_max << 10,
        })
    }
}

impl Control {
    /// Where a module's guests may connect to; nowhere where there is no such module.
    fn reach(&self, tenant: &str, module: &str) -> Option<Reach> {
        let (tenant, module): (TenantName, ModuleName) =
            (tenant.parse().ok()?, module.parse().ok()?);
        let state = self.read();
        let module = &state.tenants.get(&tenant)?.modules.get(&module)?.value;
        let grants = module.grants.as_deref()?;
        Some(Reach {
            outbound: grants.outbound.clone(),
            networks: grants.networks.clone(),
            never: self.config().outbound.refused_networks.clone(),
        })
    }
}

/// The calls of one worker.
struct Calls<'a> {
    control: &'a Arc<Control>,
    /// Made when something is first read.
    reader: Option<Reader>,
    /// As many as the worker has calls under way.
    replies: mpsc::UnboundedSender<Answer>,
    outgoing: Option<mpsc::UnboundedReceiver<Answer>>,
    connector: Arc<Connector>,
    sessions: Sessions,
}

/// A reply, and the socket that goes with it.
type Answer = (Reply, Option<OwnedFd>);

impl<'a> Calls<'a> {
    fn new(control: &'a Arc<Control>) -> Self {
        let (replies, outgoing) = mpsc::unbounded_channel();
        Self {
            control,
            reader: None,
            replies,
            outgoing: Some(outgoing),
            connector: Arc::default(),
            sessions: Sessions::default(),
        }
    }

    async fn serve(mut self, mut reader: LinkReader, writer: LinkWriter) -> Result<(), FrameError> {
        let sending = send_all(self.outgoing.take(), writer);
        let receiving = async {
            loop {
                let (calls, _) = reader.receive::<Vec<Call>>().await?;
                for call in calls {
                    self.take(call);
                }
                // A worker that asks without end must not keep what is done from being told.
                tokio::task::yield_now().await;
            }
        };
        futures_util::future::try_join(sending, receiving)
            .await
            .map(|((), ())| ())
    }

    fn take(&mut self, call: Call) {
        let Call {
            id,
            tenant,
            module,
            ask,
        } = call;
        let result = match ask {
            Ask::Store { store, op } => match self.store(id, tenant, store, op) {
                Some(result) => result,
                None => return,
            },
            Ask::Variable { name } => self.control.variable_for(&tenant, &module, &name),
            Ask::Variables => self.control.variables_for(&tenant, &module),
            Ask::Sql { connection, op } => {
                return self.sql((id, connection), &tenant, &module, op);
            }
            Ask::Resolve { host, ms_max } => {
                return self.resolve(id, tenant, &module, host, Duration::from_millis(ms_max));
            }
            Ask::Connect {
                scheme,
                host,
                port,
                ms_max,
            } => {
                let target = Target { scheme, host, port };
                let time_max = Duration::from_millis(ms_max);
                return self.connect(id, tenant, &module, target, time_max);
            }
        };
        // Nobody takes replies once the link is gone.
        let _ = self.replies.send((Reply { id, result }, None));
    }

    /// Calls a connection to a database beside what else is asked; dropped with the link.
    fn sql(&self, (id, connection): (u64, u64), tenant: &str, module: &str, op: SqlOp) {
        let replies = self.replies.clone();
        let tell = move |given| {
            let result = Ok(given);
            let _ = replies.send((Reply { id, result }, None));
        };
        self.sessions
            .call(self.control, tenant, module, (connection, op), tell);
    }

    /// Looks a name up beside what else is asked; dropped with the link.
    fn resolve(&self, id: u64, tenant: String, module: &str, host: String, time_max: Duration) {
        let replies = self.replies.clone();
        let allowed = self.control.reach(&tenant, module);
        let connector = Arc::clone(&self.connector);
        tokio::spawn(async move {
            let found = connector.resolve(tenant, host, allowed, time_max).await;
            let given = found.map_or_else(Given::Unconnected, Given::Addresses);
            let reply = Reply {
                id,
                result: Ok(given),
            };
            let _ = replies.send((reply, None));
        });
    }

    /// Makes a connection beside what else is asked; dropped with the link.
    fn connect(&self, id: u64, tenant: String, module: &str, target: Target, time_max: Duration) {
        let replies = self.replies.clone();
        let allowed = self.control.reach(&tenant, module);
        let connector = Arc::clone(&self.connector);
        tokio::spawn(async move {
            let connected = connector.connect(tenant, target, allowed, time_max).await;
            let (given, socket) = match connected {
                Ok(socket) => (Given::Connected, Some(socket)),
                Err(why) => (Given::Unconnected(why), None),
            };
            let reply = Reply {
                id,
                result: Ok(given),
            };
            let _ = replies.send((reply, socket));
        });
    }

    /// What came of an operation; `None` where that is told when it is durable.
    fn store(
        &mut self,
        id: u64,
        tenant: String,
        store: String,
        op: StoreOp,
    ) -> Option<Result<Given, Fault>> {
        let Some(allowed) = self.control.allowance(&tenant) else {
            return Some(Err(Fault::NoSuch("the tenant is gone".to_owned())));
        };
        if op.writes() {
            let replies = self.replies.clone();
            let done = move |result| {
                let _ = replies.send((Reply { id, result }, None));
            };
            let storage = &self.control.storage;
            storage.write(&tenant, &store, op, allowed, Box::new(done));
            return None;
        }
        if self.reader.is_none() {
            match self.control.storage.reader() {
                Ok(reader) => self.reader = Some(reader),
                Err(fault) => return Some(Err(fault)),
            }
        }
        self.reader.as_ref()?.read(&tenant, &store, &op)
    }
}

async fn send_all(
    replies: Option<mpsc::UnboundedReceiver<Answer>>,
    mut writer: LinkWriter,
) -> Result<(), FrameError> {
    let Some(mut replies) = replies else {
        return Ok(());
    };
    let mut batch = Vec::new();
    while replies.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let bytes = |(reply, _): &Answer| reply.result.as_ref().map_or(0, Given::bytes);
        for answers in batches(std::mem::take(&mut batch), bytes) {
            let (replies, sockets): (Vec<Reply>, Vec<_>) = answers.into_iter().unzip();
            // At most as many as replies, and so as a frame takes.
            let sockets: Vec<OwnedFd> = sockets.into_iter().flatten().collect();
            let files: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
            writer.send(&replies, &files).await?;
        }
    }
    Ok(())
}
