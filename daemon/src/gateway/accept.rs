//! Connections: accepted, bounded, timed, drained.

use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
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
use super::frames::Frames;
use super::http2;
use super::leave::{FAIR_CHANCE, LAST_HANDSHAKES, Leave};
use super::lingering::lend;
use super::overdue::ResponseDeadline;
use super::preface::{Beginning, beginning};
use super::request_id::RequestIds;
use super::serve::{Gateway, Peer};
use super::spin;
use super::tls::{HTTP2, Handshakes, Secured, Served};
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
    /// Most streams of one connection of HTTP/2; 0 where it is not spoken.
    pub streams_max: u32,
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
        mut stream: TcpStream,
        client: SocketAddr,
        queue: Arc<RunQueue>,
    ) {
        // A connection that nobody has asked anything on yet has no buffers.
        let said = tokio::select! {
            said = tokio::time::timeout(self.settings.header_read_timeout, beginning(&mut stream)) => said,
            () = self.left(FAIR_CHANCE) => return,
        };
        if let Ok(Ok(Some(beginning))) = said {
            // Boxed, like all that only a connection in use needs: most of them are not.
            set_nodelay(&stream);
            Box::pin(self.converse(stream, beginning, client, None, queue)).await;
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
        let (_, session) = stream.get_ref();
        let beginning = Beginning {
            http2: session.alpn_protocol() == Some(HTTP2),
            read: Bytes::new(),
        };
        Box::pin(self.converse(stream, beginning, client, Some(certificate), queue)).await;
    }

    /// A connection on which something came, to its end.
    async fn converse<I>(
        self: &Arc<Self>,
        stream: I,
        beginning: Beginning,
        client: SocketAddr,
        certificate: Option<Arc<Served>>,
        queue: Arc<RunQueue>,
    ) where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let gateway = &self.gateway;
        let http2 = beginning.http2 && self.settings.streams_max > 0;
        let peer = Arc::new(Peer {
            client: Client::new(client.ip(), gateway.trusted(), certificate.is_some()),
            client_addr: spin::client_addr(client),
            certificate,
            header_bytes_max: self.settings.header_bytes_max,
            header_count_max: self.settings.header_count_max,
            queue,
            frames: http2.then(|| http2::frames(&self.settings)),
            connected: Mutex::default(),
        });
        let outcome = match peer.frames.clone() {
            Some(frames) => {
                self.converse_in_streams(stream, beginning.read, frames, peer)
                    .await
            }
            None => self.converse_in_turns(stream, beginning.read, peer).await,
        };
        // How responses end is counted where it happens; here only the connection does.
        match outcome {
            Ok(()) => {}
            Err(error) => tracing::trace!(%error, %client, "connection ended"),
        }
    }

    /// HTTP/2.
    async fn converse_in_streams<I>(
        &self,
        stream: I,
        begun: Bytes,
        frames: Arc<Frames>,
        peer: Arc<Peer>,
    ) -> Result<(), hyper::Error>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let Some(_buffers) = self.gateway.buffers().http2() else {
            self.gateway.refused_unrouted(Refusal::Pressure);
            return Ok(());
        };
        let (stream, lender) = lend(stream, begun, frames);
        let gateway = Arc::clone(&self.gateway);
        let ids = RequestIds::new(random(), random());
        http2::serve(stream, gateway, peer, &self.settings, ids, &self.leave).await?;
        Box::pin(lender.linger()).await;
        Ok(())
    }

    /// HTTP/1.1.
    async fn converse_in_turns<I>(
        &self,
        stream: I,
        begun: Bytes,
        peer: Arc<Peer>,
    ) -> Result<(), hyper::Error>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let ids = RequestIds::new(random(), random());
        let gateway = Arc::clone(&self.gateway);
        let deadline = Arc::<ResponseDeadline>::default();
        let responses = Arc::clone(&deadline);
        let heads = gateway.buffers().heads();
        let (stream, lender) = lend(stream, begun, Arc::clone(&heads));
        let (silence, leave) = (Arc::clone(&heads), self.leave.clone());
        let service = service_fn(move |request| {
            let (gateway, peer) = (Arc::clone(&gateway), Arc::clone(&peer));
            let (deadline, leave) = (Arc::clone(&responses), leave.clone());
            let id = ids.next();
            let in_request = heads.begin();
            // Boxed: hyper keeps room for it for as long as the connection lives, and most live idle.
            Box::pin(async move {
                let serving = Arc::clone(&gateway).serve(&peer, &deadline, request, id.clone());
                let mut response = leave.in_time(&gateway, &id, serving).await;
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
                outcome = served => Some(outcome?),
                () = deadline.passed() => None,
            }
        };
        match outcome {
            Some(()) => Box::pin(lender.linger()).await,
            None => tracing::trace!("a response was not taken in time"),
        }
        Ok(())
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
