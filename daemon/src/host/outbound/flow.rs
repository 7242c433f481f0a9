//! A connection that a guest speaks on by itself: counted both ways, bounded, and closed with it.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::failure::Failure;
use super::tell;
use crate::host::capabilities::Capabilities;
use crate::host::stdio::GuestLog;
use crate::link::services::{Ask, Unconnected};
use crate::quota::{Direction, OutboundAccount, OutboundPlace, Outcome};

/// Both halves of a connection, and a handle to close either way with.
pub(in crate::host) struct Flow {
    pub(in crate::host) received: Metered<OwnedReadHalf>,
    pub(in crate::host) sent: Metered<OwnedWriteHalf>,
    pub(in crate::host) handle: std::net::TcpStream,
}

/// Connects to what a module was granted as `tcp`: a name, or an address. `number` says how many requests and connections
/// the guest's request has made, this one included.
///
/// # Errors
/// [`Failure`], counted and logged.
///
/// # Cancel safety
/// Dropped, the connection is closed.
pub(in crate::host) async fn open(
    capabilities: Arc<Capabilities>,
    log: Arc<dyn GuestLog>,
    number: u64,
    host: String,
    port: u16,
) -> Result<Flow, Failure> {
    let account = Arc::clone(capabilities.tenant().outbound());
    let target = format!("tcp://{host}:{port}");
    let opened = connected(&capabilities, &account, number, host, port).await;
    match &opened {
        Ok(_) => account.ended(Outcome::Answered),
        Err(failure) => tell(&account, &*log, &target, failure),
    }
    opened
}

/// The addresses of a name of which something is granted.
///
/// # Errors
/// [`Failure`], counted and logged.
///
/// # Cancel safety
/// Dropped, nobody waits for them.
pub(in crate::host) async fn resolve(
    capabilities: Arc<Capabilities>,
    log: Arc<dyn GuestLog>,
    name: String,
) -> Result<Vec<IpAddr>, Failure> {
    let ms_max = capabilities.tenant().limits().outbound_connect_ms_max;
    let ask = Ask::Resolve {
        host: name.clone(),
        ms_max,
    };
    let found = match capabilities.resolve(ask).await {
        Ok(found) => found.map_err(Failure::from),
        Err(fault) => Err(fault.into()),
    };
    found.inspect_err(|failure| {
        tell(capabilities.tenant().outbound(), &*log, &name, failure);
    })
}

async fn connected(
    capabilities: &Capabilities,
    account: &Arc<OutboundAccount>,
    number: u64,
    host: String,
    port: u16,
) -> Result<Flow, Failure> {
    let limits = capabilities.tenant().limits();
    if number > limits.outbound_per_request_max {
        return Err(Failure::TooMany(limits.outbound_per_request_max));
    }
    let most = limits.outbound_at_once_max;
    let place = account.place(most).ok_or(Failure::TooManyAtOnce(most))?;
    let ms_max = limits.outbound_connect_ms_max;
    let ask = Ask::Connect {
        scheme: super::TCP.to_owned(),
        host,
        port,
        ms_max,
    };
    let connecting = capabilities.connect(ask);
    let socket: OwnedFd = tokio::time::timeout(Duration::from_millis(ms_max), connecting)
        .await
        .map_err(|_| Unconnected::TimedOut(ms_max))???;
    account.connected();
    let unreachable = |error: std::io::Error| Unconnected::Unreachable(error.to_string());
    let stream = std::net::TcpStream::from(socket);
    let handle = stream.try_clone().map_err(unreachable)?;
    let (read, write) = TcpStream::from_std(stream)
        .map_err(unreachable)?
        .into_split();
    let place = Arc::new(place);
    let metered = |direction, bytes_max| Meter {
        account: Arc::clone(account),
        direction,
        left: AtomicU64::new(bytes_max),
        _place: Arc::clone(&place),
    };
    Ok(Flow {
        received: Metered(
            read,
            metered(Direction::Response, limits.outbound_received_bytes_max),
        ),
        sent: Metered(
            write,
            metered(Direction::Request, limits.outbound_sent_bytes_max),
        ),
        handle,
    })
}

/// One half of a connection. What goes beyond its bound fails.
pub(in crate::host) struct Metered<S>(S, Meter);

struct Meter {
    account: Arc<OutboundAccount>,
    direction: Direction,
    left: AtomicU64,
    _place: Arc<OutboundPlace>,
}

impl Meter {
    fn is_empty(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }

    fn moved(&self, bytes: usize) {
        self.account.moved(self.direction, bytes);
        let left = self.left.load(Ordering::Relaxed);
        // One task alone moves bytes this way.
        self.left
            .store(left.saturating_sub(bytes as u64), Ordering::Relaxed);
    }

    fn refusal() -> std::io::Error {
        std::io::Error::other("the connection has moved as many bytes as the tenant may")
    }
}

impl AsyncRead for Metered<OwnedReadHalf> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.1.is_empty() {
            return Poll::Ready(Err(Meter::refusal()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.0).poll_read(cx, buffer))?;
        self.1.moved(buffer.filled().len().saturating_sub(before));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Metered<OwnedWriteHalf> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        if self.1.is_empty() {
            return Poll::Ready(Err(Meter::refusal()));
        }
        let written = ready!(Pin::new(&mut self.0).poll_write(cx, bytes))?;
        self.1.moved(written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
