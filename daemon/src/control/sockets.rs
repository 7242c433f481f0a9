//! The listening sockets: control opens them and keeps them for its whole life, so that the kernel goes on taking
//! connections into their backlogs while a worker is being replaced.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::net::sockopt::{set_ipv6_v6only, set_socket_reuseaddr, set_socket_reuseport};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, listen, socket_with};

/// Connections that wait for a worker, a socket. The kernel lowers it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Sockets for the world, one set a thread of the worker.
pub(super) struct Listeners {
    /// By thread, then by address.
    sockets: Vec<OwnedFd>,
    addresses: Vec<SocketAddr>,
    /// Of those, how many at the end are for TLS.
    secure: usize,
}

/// An address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("{key}: cannot listen on {address}")]
pub struct ListenError {
    key: &'static str,
    address: SocketAddr,
    #[source]
    source: io::Error,
}

impl Listeners {
    /// Listens on every address once a thread, first those for plain HTTP, then those for TLS; the kernel spreads connections over them (`SO_REUSEPORT`). A port of 0
    /// is chosen once and shared.
    ///
    /// # Errors
    /// [`ListenError`] names the address.
    pub(super) fn bind(
        plain: &[SocketAddr],
        secure: &[SocketAddr],
        threads: usize,
    ) -> Result<Self, ListenError> {
        let mut bound = Vec::new();
        let mut sockets = Vec::new();
        for thread in 0..threads.max(1) {
            for (index, wanted) in plain.iter().chain(secure).enumerate() {
                let wanted = if thread == 0 {
                    wanted
                } else {
                    bound.get(index).unwrap_or(wanted)
                };
                let (socket, address) = open(*wanted).map_err(|source| ListenError {
                    key: if index < plain.len() {
                        "http.listen"
                    } else {
                        "https.listen"
                    },
                    address: *wanted,
                    source,
                })?;
                sockets.push(socket);
                if thread == 0 {
                    bound.push(address);
                }
            }
        }
        Ok(Self {
            sockets,
            addresses: bound,
            secure: secure.len(),
        })
    }

    /// Where plain connections are taken, ports known.
    pub(super) fn addresses(&self) -> &[SocketAddr] {
        let plain = self.addresses.len().saturating_sub(self.secure);
        self.addresses.get(..plain).unwrap_or_default()
    }

    /// Where connections over TLS are taken, ports known.
    pub(super) fn secure_addresses(&self) -> &[SocketAddr] {
        let plain = self.addresses.len().saturating_sub(self.secure);
        self.addresses.get(plain..).unwrap_or_default()
    }

    /// One thread's sockets after another.
    pub(super) fn sockets(&self) -> &[OwnedFd] {
        &self.sockets
    }
}

fn open(address: SocketAddr) -> io::Result<(OwnedFd, SocketAddr)> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    set_socket_reuseaddr(&socket, true)?;
    set_socket_reuseport(&socket, true)?;
    if address.is_ipv6() {
        // Whether `[::]` also takes IPv4 must not depend on the box: both are listed where both are wanted.
        set_ipv6_v6only(&socket, true)?;
    }
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    let bound = SocketAddr::try_from(getsockname(&socket)?)?;
    Ok((socket, bound))
}
