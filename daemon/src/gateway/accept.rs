//! Connections: accepted, bounded, timed, drained.

use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use http::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use super::clients::{ClientPlace, Clients};
use super::forwarded::Client;
use super::leave::{FAIR_CHANCE, LAST_HANDSHAKES, Leave};
use super::lingering::lend;
use super::overdue::ResponseDeadline;
use super::request_id::RequestIds;
use super::respond::refuse;
use super::serve::{Gateway, Peer};
use super::spin;
use super::tls::{Handshakes, Secured, Served};
use crate::quota::{Charge, Refusal, RunQueue};

/// After an accept error (out of descriptors, most likely): long enough for connections to end, short enough that
/// nobody notices.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// How connections are treated.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Most open connections, over all threads.
    pub connections_max: usize,
    /// A request head must be complete within this time.
    pub header_read_timeout: Duration,
    /// A head may take this many bytes.
    pub header_bytes_max: usize,
    /// A head may have this many fields.
    pub header_count_max: usize,
    /// Most open connections of one client address.
    pub client_connections_max: u32,
}

/// What a connection holds of what is bounded.
type Place = (OwnedSemaphorePermit, Charge);

/// What all accepting threads of a worker share.
pub struct Acceptor {
    gateway: Arc<Gateway>,
    settings: Settings,
    places: Arc<Semaphore>,
    clients: Arc<Clients>,
    handshakes: Arc<Handshakes>,
    open: Arc<AtomicU64>,
    leave: Leave,
    tracker: TaskTracker,
}

impl Acceptor {
    /// `leave` ends accepting and lets connections finish; `tracker` holds them.
    #[must_use]
    pub fn new(
        gateway: Arc<Gateway>,
        settings: Settings,
        handshakes: Arc<Handshakes>,
        leave: Leave,
        tracker: TaskTracker,
    ) -> Arc<Self> {
        let places = Arc::new(Semaphore::new(settings.connections_max));
        Arc::new(Self {
            gateway,
            clients: Clients::new(settings.client_connections_max),
            settings,
            places,
            handshakes,
            open: Arc::default(),
            leave,
            tracker,
        })
    }

    /// Open connections now.
    #[must_use]
    pub fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// TLS handshakes.
    #[must_use]
    pub fn handshakes(&self) -> &Handshakes {
        &self.handshakes
    }

    /// Accepts on one socket until the worker leaves, which is for TLS where `secure` says so. Connections live on the
    /// thread that calls this. Where nobody follows, those that wait in the backlog by then are taken too.
    ///
    /// While all places are taken, one connection a socket waits for a place, accepted and unread; the others wait in
    /// the kernel's backlog.
    ///
    /// # Errors
    /// If the socket cannot be registered; accept errors are waited out and never end it.
    pub async fn accept(
        self: Arc<Self>,
        listener: StdTcpListener,
        secure: bool,
        queue: Arc<RunQueue>,
    ) -> io::Result<()> {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        loop {
            let accepted = tokio::select! {
                () = self.leave.begun() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, client)) => self.admit(stream, client, secure, &queue).await?,
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection failed; going on shortly");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        if self.leave.empties_backlogs() {
            let listener = listener.into_std()?;
            // As many as a backlog holds at most, and with no more coming.
            while let Ok((stream, client)) = listener.accept() {
                stream.set_nonblocking(true)?;
                let stream = TcpStream::from_std(stream)?;
                self.admit(stream, client, secure, &queue).await?;
            }
        }
        Ok(())
    }

    /// Begins a connection once it has its place.
    async fn admit(
        self: &Arc<Self>,
        stream: TcpStream,
        client: SocketAddr,
        secure: bool,
        queue: &Arc<RunQueue>,
    ) -> io::Result<()> {
        let place = self.place(secure).await?;
        let Some(counted) = self.count(client) else {
            return Ok(());
        };
        let this = Arc::clone(self);
        let queue = Arc::clone(queue);
        self.tracker.spawn(async move {
            this.open.fetch_add(1, Ordering::Relaxed);
            if secure {
                this.secure_connection(stream, client, queue).await;
            } else {
                this.connection(stream, client, queue).await;
            }
            this.open.fetch_sub(1, Ordering::Relaxed);
            drop((place, counted));
        });
        Ok(())
    }

    /// Counts a connection with its client; `None`, and the connection is to be closed, if that has too many. Trusted
    /// proxies bring the connections of many.
    fn count(&self, client: SocketAddr) -> Option<Option<ClientPlace>> {
        if self.gateway.trusted().trusts(client.ip()) {
            return Some(None);
        }
        let place = self.clients.enter(client.ip());
        if place.is_none() {
            self.gateway.refused_unrouted(Refusal::Connections);
        }
        place.map(Some)
    }

    /// A connection's place, of which its buffers are a part.
    ///
    /// It comes after the connection: a thread that held one while nobody came would keep it from those who wait at the
    /// sockets of other threads.
    async fn place(&self, secure: bool) -> io::Result<Place> {
        let place = Arc::clone(&self.places).acquire_owned().await;
        let place = place.map_err(io::Error::other)?;
        loop {
            match self.gateway.buffers().connection(secure) {
                Some(buffers) => return Ok((place, buffers)),
                None => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    }

    /// Ready when the worker leaves and `chance` is over.
    async fn left(&self, chance: Duration) {
        self.leave.begun().await;
        tokio::time::sleep(chance).await;
    }

    async fn connection(
        self: &Arc<Self>,
        stream: TcpStream,
        client: SocketAddr,
        queue: Arc<RunQueue>,
    ) {
        // A connection that nobody has asked anything on yet has no buffers.
        // (Looked at: a socket is called readable at first, whether it is or not.)
        let mut first = [0];
        let something = stream.peek(&mut first);
        let said_something = tokio::select! {
            looked = tokio::time::timeout(self.settings.header_read_timeout, something) => {
                matches!(looked, Ok(Ok(1)))
            }
            () = self.left(FAIR_CHANCE) => false,
        };
        if said_something {
            // Boxed, like all that only a connection in use needs: most of them are not.
            set_nodelay(&stream);
            Box::pin(self.converse(stream, client, None, queue)).await;
        }
    }

    /// The same over TLS.
    async fn secure_connection(
        self: &Arc<Self>,
        stream: TcpStream,
        client: SocketAddr,
        queue: Arc<RunQueue>,
    ) {
        set_nodelay(&stream);
        let find = |name: &str, schemes: &[_]| self.gateway.certificate(name, schemes);
        let of_many = self.gateway.trusted().trusts(client.ip());
        let own = (!of_many).then(|| client.ip());
        let secured = tokio::select! {
            // Boxed: gone before the first request comes.
            secured = Box::pin(self.handshakes.secure(stream, own, find)) => secured,
            () = self.left(LAST_HANDSHAKES) => None,
        };
        let Some(Secured {
            stream,
            certificate,
        }) = secured
        else {
            return;
        };
        Box::pin(self.converse(stream, client, Some(certificate), queue)).await;
    }

    /// A connection on which something came, to its end.
    async fn converse<I>(
        self: &Arc<Self>,
        stream: I,
        client: SocketAddr,
        certificate: Option<Arc<Served>>,
        queue: Arc<RunQueue>,
    ) where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let ids = RequestIds::new(random(), random());
        let gateway = Arc::clone(&self.gateway);
        let deadline = Arc::<ResponseDeadline>::default();
        let peer = Arc::new(Peer {
            client: Client::new(client.ip(), gateway.trusted(), certificate.is_some()),
            client_addr: spin::client_addr(client),
            certificate,
            header_bytes_max: self.settings.header_bytes_max,
            queue,
            deadline: Arc::clone(&deadline),
            connected: Mutex::default(),
        });
        let heads = gateway.buffers().heads();
        let (stream, lender) = lend(stream, Arc::clone(&heads));
        let (silence, leave) = (Arc::clone(&heads), self.leave.clone());
        let service = service_fn(move |request| {
            let (gateway, peer) = (Arc::clone(&gateway), Arc::clone(&peer));
            let leave = leave.clone();
            let id = ids.next();
            let in_request = heads.begin();
            // Boxed: hyper keeps room for it for as long as the connection lives, and most live idle.
            Box::pin(async move {
                let mut response = {
                    let mut served =
                        std::pin::pin!(Arc::clone(&gateway).serve(&peer, request, id.clone()));
                    let in_time = std::future::poll_fn(|cx| match leave.is_over() {
                        true => Poll::Ready(None),
                        false => served.as_mut().poll(cx).map(Some),
                    });
                    in_time.await.unwrap_or_else(|| {
                        gateway.refused_unrouted(Refusal::Draining);
                        refuse(Refusal::Draining, &id)
                    })
                };
                if leave.has_begun() {
                    let close = HeaderValue::from_static("close");
                    response.headers_mut().insert(CONNECTION, close);
                }
                let response = response.map(|body| body.holding(in_request));
                Ok::<_, std::convert::Infallible>(response)
            })
        });
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(self.settings.header_read_timeout)
            .max_headers(self.settings.header_count_max)
            .max_buf_size(self.settings.header_bytes_max);
        let outcome = {
            let mut connection =
                std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
            let served = async {
                tokio::select! {
                    outcome = connection.as_mut() => return outcome,
                    () = self.leave.begun() => {}
                }
                let mut before = silence.rests_after();
                loop {
                    tokio::select! {
                        outcome = connection.as_mut() => return outcome,
                        // Requests without an answer get their refusal as the connection is looked at again.
                        () = self.leave.over() => break,
                        () = tokio::time::sleep(FAIR_CHANCE) => {}
                    }
                    let now = silence.rests_after();
                    if now.is_some() && now == before {
                        break;
                    }
                    before = now;
                }
                connection.as_mut().graceful_shutdown();
                connection.as_mut().await
            };
            tokio::select! {
                outcome = served => Some(outcome),
                () = deadline.passed() => None,
            }
        };
        // How responses end is counted where it happens; here only the connection does.
        match outcome {
            Some(Ok(())) => Box::pin(lender.linger()).await,
            Some(Err(error)) => tracing::trace!(%error, %client, "connection ended"),
            None => tracing::trace!(%client, "a response was not taken in time"),
        }
    }
}

/// Small writes are whole answers here; without it they would wait for an acknowledgement.
fn set_nodelay(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    // Request ids must differ, not be secret: should the kernel have nothing, the counter still makes them differ.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    u64::from_ne_bytes(bytes)
}
