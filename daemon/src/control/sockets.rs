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
}

/// An address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("http.listen: cannot listen on {address}")]
pub struct ListenError {
    address: SocketAddr,
    #[source]
    source: io::Error,
}

impl Listeners {
    /// Listens on every address once a thread; the kernel spreads connections over them (`SO_REUSEPORT`). A port of 0
    /// is chosen once and shared.
    ///
    /// # Errors
    /// [`ListenError`] names the address.
    pub(super) fn bind(addresses: &[SocketAddr], threads: usize) -> Result<Self, ListenError> {
        let mut bound = Vec::new();
        let mut sockets = Vec::new();
        for thread in 0..threads.max(1) {
            for (index, wanted) in addresses.iter().enumerate() {
                let wanted = if thread == 0 {
                    wanted
                } else {
                    bound.get(index).unwrap_or(wanted)
                };
                let (socket, address) = open(*wanted).map_err(|source| ListenError {
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
        })
    }

    /// Where connections are taken, ports known.
    pub(super) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
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
