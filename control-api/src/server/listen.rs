//! Sockets: bound first, so that ports are known, then served until told to stop.

use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use edge_config::{Config, WithoutTls};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{AdminTls, Api, ApiOptions, connection, router};

/// Most connections at once, where the configuration says nothing else.
pub const CONNECTIONS_MAX: usize = 256;
/// Longest wait for a request's headers, in milliseconds, where the configuration says nothing else.
pub const HEADER_MS_MAX: u64 = 10_000;
/// Longest wait for requests under way once the server is told to stop.
const DRAIN_MS_MAX: u64 = 10_000;
/// Pause after an accept error such as running out of descriptors.
const ACCEPT_PAUSE_MS: u64 = 100;

/// Where the API listens.
#[derive(Debug)]
pub struct ListenOptions {
    /// A loopback address, or any with TLS; port 0 takes a free one.
    pub tcp: Option<SocketAddr>,
    /// TLS on `tcp`.
    pub tls: Option<Arc<AdminTls>>,
    /// Whether `tcp` may be any address without TLS too: the operator insists.
    pub without_tls_anywhere: bool,
    /// A Unix socket's path: a stale socket there is replaced, the new one has mode 0660.
    pub unix: Option<PathBuf>,
    /// The listener of `tcp`, where a process before this one opened it.
    pub tcp_there: Option<std::net::TcpListener>,
    /// The listener of `unix`, where a process before this one opened it; its file goes with this server.
    pub unix_there: Option<std::os::unix::net::UnixListener>,
    /// Listeners that are open already, from a supervisor or a parent; their addresses are their opener's choice.
    pub tcp_open: Vec<std::net::TcpListener>,
    /// Unix listeners that are open already.
    pub unix_open: Vec<std::os::unix::net::UnixListener>,
    /// Most connections at once; more wait in the backlog.
    pub connections_max: usize,
    /// Longest wait for a request's headers, and longest silence between two requests.
    pub header_timeout: Duration,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self {
            tcp: None,
            tls: None,
            without_tls_anywhere: false,
            unix: None,
            tcp_there: None,
            unix_there: None,
            tcp_open: Vec::new(),
            unix_open: Vec::new(),
            connections_max: CONNECTIONS_MAX,
            header_timeout: Duration::from_millis(HEADER_MS_MAX),
        }
    }
}

impl ListenOptions {
    /// Where the operator's configuration says; its TLS is another matter ([`AdminTls::from_config`]).
    pub fn from_config(config: &Config) -> Self {
        Self {
            tcp: Some(config.admin.listen),
            without_tls_anywhere: config.admin.without_tls == WithoutTls::Anywhere,
            unix: config
                .admin
                .unix_socket
                .as_ref()
                .map(|path| path.as_path().to_owned()),
            ..Self::default()
        }
    }
}

/// Why the API cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// An address that others than this box reach.
    #[error(
        "the admin address {address} is not on loopback and has no TLS; allowed without are 127.0.0.0/8 and ::1"
    )]
    NotLoopback {
        /// The address.
        address: SocketAddr,
    },
    /// The address cannot be bound.
    #[error("cannot listen on {place}")]
    Bind {
        /// Address or path.
        place: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Something else is at the socket's path.
    #[error("{} is there and is no socket; it is left alone", .path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// Another process listens there.
    #[error("another process listens on {}", .path.display())]
    InUse {
        /// The path.
        path: PathBuf,
    },
    /// Nothing to listen on.
    #[error("no address, no socket and no open listener was given")]
    Nowhere,
}

/// One place where the API listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listening {
    /// A TCP address, its port known.
    Tcp(SocketAddr),
    /// A Unix socket; a nameless one has an empty path.
    Unix(PathBuf),
}

enum Listener {
    Tcp(TcpListener),
    Tls(TcpListener, Arc<AdminTls>),
    Unix(UnixListener),
}

/// Removes a socket file that this server made.
struct SocketFile {
    path: PathBuf,
    /// Whether another process listens there by now.
    stays: Arc<AtomicBool>,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.stays.load(Ordering::Relaxed) {
            return;
        }
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(%error, path = %self.path.display(), "the socket file was gone already");
        }
    }
}

/// The admin API, bound and not yet serving. Dropping it closes its sockets.
pub struct Server {
    listeners: Vec<(Listener, Listening)>,
    router: Router,
    closing: CancellationToken,
    connections: Arc<Semaphore>,
    header_timeout: Duration,
    tls: Option<Arc<AdminTls>>,
    _socket_file: Option<SocketFile>,
    socket_file_stays: Arc<AtomicBool>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("listening", &self.local_addrs())
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Opens the sockets. Clients can connect from here on; they are answered once [`Server::run`] is polled.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`ListenError`].
    pub fn bind(listen: ListenOptions, api: ApiOptions) -> Result<Self, ListenError> {
        let mut listeners = Vec::new();
        let mut socket_file = None;
        let socket_file_stays = Arc::<AtomicBool>::default();
        if let Some(address) = listen.tcp {
            let is_loopback = address.ip().to_canonical().is_loopback();
            if !is_loopback && listen.tls.is_none() && !listen.without_tls_anywhere {
                return Err(ListenError::NotLoopback { address });
            }
            let opened = match listen.tcp_there {
                Some(there) => there,
                None => std::net::TcpListener::bind(address)
                    .map_err(|source| bind_error(&address, source))?,
            };
            let (listener, listening) = tcp(opened)?;
            let listener = match (&listen.tls, listener) {
                (Some(tls), Listener::Tcp(listener)) => Listener::Tls(listener, Arc::clone(tls)),
                (_, listener) => listener,
            };
            listeners.push((listener, listening));
        }
        for opened in listen.tcp_open {
            listeners.push(tcp(opened)?);
        }
        if let Some(path) = listen.unix {
            let opened = match listen.unix_there {
                Some(there) => there,
                None => bind_unix(&path)?,
            };
            socket_file = Some(SocketFile {
                path,
                stays: Arc::clone(&socket_file_stays),
            });
            listeners.push(unix(opened)?);
        }
        for opened in listen.unix_open {
            listeners.push(unix(opened)?);
        }
        if listeners.is_empty() {
            return Err(ListenError::Nowhere);
        }
        let closing = CancellationToken::new();
        Ok(Self {
            listeners,
            router: router(Api::new(api, closing.clone())),
            closing,
            connections: Arc::new(Semaphore::new(listen.connections_max)),
            header_timeout: listen.header_timeout,
            tls: listen.tls,
            _socket_file: socket_file,
            socket_file_stays,
        })
    }

    /// Where it listens, ports known: the TCP address first, then open TCP listeners, the Unix socket, open Unix ones.
    pub fn local_addrs(&self) -> Vec<Listening> {
        self.listeners
            .iter()
            .map(|(_, listening)| listening.clone())
            .collect()
    }

    /// Its sockets once more, in the order of [`Server::local_addrs`], for a process that is to follow this one.
    ///
    /// # Errors
    /// If no descriptor is left.
    pub fn sockets(&self) -> std::io::Result<Vec<(Listening, OwnedFd)>> {
        let again = |(listener, listening): &(Listener, Listening)| {
            let socket = match listener {
                Listener::Tcp(socket) | Listener::Tls(socket, _) => socket.as_fd(),
                Listener::Unix(socket) => socket.as_fd(),
            };
            Ok((listening.clone(), socket.try_clone_to_owned()?))
        };
        self.listeners.iter().map(again).collect()
    }

    /// To be set when another process listens on these sockets: the Unix socket's file is then left to it.
    pub fn socket_file_stays(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.socket_file_stays)
    }

    /// Its first TCP address.
    pub fn tcp_addr(&self) -> Option<SocketAddr> {
        self.listeners
            .iter()
            .find_map(|(_, listening)| match listening {
                Listening::Tcp(address) => Some(*address),
                Listening::Unix(_) => None,
            })
    }

    /// Serves until `shutdown`, then lets requests under way finish for at most 10 s. Changes that began go on in the
    /// tracker that was handed in, whatever becomes of their connections.
    ///
    /// # Cancel safety
    /// Dropping the future closes listeners and connections at once.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut accepting = JoinSet::new();
        for (listener, _) in self.listeners {
            accepting.spawn(accept(
                listener,
                self.router.clone(),
                Arc::clone(&self.connections),
                self.header_timeout,
                shutdown.clone(),
            ));
        }
        let fresh = async {
            match self.tls {
                Some(tls) => tls.keep_fresh().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = fresh => {}
        }
        // Log followers would never end by themselves.
        self.closing.cancel();
        let drained = async { while accepting.join_next().await.is_some() {} };
        if tokio::time::timeout(Duration::from_millis(DRAIN_MS_MAX), drained)
            .await
            .is_err()
        {
            tracing::warn!(
                "admin requests were still under way after {DRAIN_MS_MAX} ms and are cut off"
            );
        }
    }
}

/// Accepts until `shutdown`, then waits for its connections. Owns them: dropping the future closes them.
async fn accept(
    listener: Listener,
    router: Router,
    permits: Arc<Semaphore>,
    header_timeout: Duration,
    shutdown: CancellationToken,
) {
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            let permit = Arc::clone(&permits)
                .acquire_owned()
                .await
                .expect("the semaphore is never closed");
            (permit, listener.accept().await)
        };
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            (permit, accepted) = next => match accepted {
                Ok(stream) => {
                    let (router, shutdown) = (router.clone(), shutdown.clone());
                    connections.spawn(async move {
                        match stream {
                            Stream::Tcp(stream) => {
                                connection::serve(stream, None, router, header_timeout, shutdown)
                                    .await;
                            }
                            Stream::Tls(stream, tls) => {
                                let secured = tokio::time::timeout(
                                    header_timeout,
                                    tls.accept(stream),
                                );
                                match secured.await {
                                    Ok(Ok((stream, client))) => {
                                        connection::serve(
                                            stream,
                                            client,
                                            router,
                                            header_timeout,
                                            shutdown,
                                        )
                                        .await;
                                    }
                                    Ok(Err(error)) => {
                                        tracing::debug!(%error, "an admin handshake failed");
                                    }
                                    Err(_) => tracing::debug!("an admin handshake took too long"),
                                }
                            }
                            Stream::Unix(stream) => {
                                connection::serve(stream, None, router, header_timeout, shutdown)
                                    .await;
                            }
                        }
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the admin listener cannot accept; it tries again");
                    tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
                }
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

enum Stream {
    Tcp(TcpStream),
    Tls(TcpStream, Arc<AdminTls>),
    Unix(UnixStream),
}

impl Listener {
    async fn accept(&self) -> std::io::Result<Stream> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
            Listener::Tls(listener, tls) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Stream::Tls(stream, Arc::clone(tls)))
            }
            Listener::Unix(listener) => Ok(Stream::Unix(listener.accept().await?.0)),
        }
    }
}

fn bind_error(place: &dyn std::fmt::Display, source: std::io::Error) -> ListenError {
    ListenError::Bind {
        place: place.to_string(),
        source,
    }
}

fn tcp(listener: std::net::TcpListener) -> Result<(Listener, Listening), ListenError> {
    let failed = |source| bind_error(&"a TCP listener", source);
    listener.set_nonblocking(true).map_err(failed)?;
    let listener = TcpListener::from_std(listener).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((Listener::Tcp(listener), Listening::Tcp(address)))
}

fn unix(listener: std::os::unix::net::UnixListener) -> Result<(Listener, Listening), ListenError> {
    let failed = |source| bind_error(&"a Unix listener", source);
    listener.set_nonblocking(true).map_err(failed)?;
    let listener = UnixListener::from_std(listener).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let path = address.as_pathname().unwrap_or(Path::new("")).to_owned();
    Ok((Listener::Unix(listener), Listening::Unix(path)))
}

/// Binds a Unix socket, in the place of one that nobody listens on any more.
fn bind_unix(path: &Path) -> Result<std::os::unix::net::UnixListener, ListenError> {
    let failed = |source| bind_error(&path.display(), source);
    match std::fs::symlink_metadata(path) {
        Ok(there) if !there.file_type().is_socket() => {
            return Err(ListenError::NotASocket {
                path: path.to_owned(),
            });
        }
        Ok(_) => {
            if std::os::unix::net::UnixStream::connect(path).is_ok() {
                return Err(ListenError::InUse {
                    path: path.to_owned(),
                });
            }
            std::fs::remove_file(path).map_err(failed)?;
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let listener = std::os::unix::net::UnixListener::bind(path).map_err(failed)?;
    // Between bind and this, the process's umask decides; whoever connects still needs a token.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).map_err(failed)?;
    Ok(listener)
}
