//! The listening sockets: control opens them and keeps them for its whole life, so that the kernel goes on taking
//! connections into their backlogs while a worker is being replaced.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::net::sockopt::{set_ipv6_v6only, set_socket_reuseaddr, set_socket_reuseport};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, listen, socket_with};

/// Connections that wait for a worker, a socket. The kernel lowers it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Sockets for the world, one set a thread of the worker.
pub(super) struct Listeners {
    /// By thread, those for TLS after the others; none once they were closed.
    sockets: Mutex<Arc<Vec<OwnedFd>>>,
    /// Whether whoever opened them still has them.
    are_others: bool,
    plain: Vec<SocketAddr>,
    secure: Vec<SocketAddr>,
    per_thread: usize,
    secure_per_thread: usize,
}

/// Guests cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// An address cannot be listened on.
    #[error("{key}: cannot listen on {address}")]
    Bind {
        /// Which setting names it.
        key: &'static str,
        /// Which.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A socket that was passed cannot be used.
    #[error("a socket that was passed cannot be used")]
    Inherited(#[source] io::Error),
    /// More than a worker takes.
    #[error(
        "{threads} threads and the sockets that were passed come to {sockets} sockets; at most {} are allowed: lower http.threads",
        edge_config::HTTP_SOCKETS_MAX
    )]
    TooMany {
        /// Threads that serve.
        threads: usize,
        /// Sockets of all of them.
        sockets: usize,
    },
}

impl Listeners {
    /// Listens on every address once a thread, for plain HTTP and for TLS; the kernel spreads connections over them
    /// (`SO_REUSEPORT`). A port of 0 is chosen once and shared.
    ///
    /// # Errors
    /// [`ListenError`] names the address.
    pub(super) fn bind(
        plain: &[SocketAddr],
        secure: &[SocketAddr],
        threads: usize,
    ) -> Result<Self, ListenError> {
        let threads = threads.max(1);
        let plain = open_each("http.listen", plain, threads)?;
        Ok(Self::of(
            plain,
            open_each("https.listen", secure, threads)?,
            false,
        ))
    }

    /// Takes sockets for plain HTTP that are open already, and listens for TLS beside them, on those of `there` where they
    /// are for that. Those of one address are shared out among the threads, so that each is accepted on; where there are
    /// fewer than threads, several accept on the same.
    /// None for plain HTTP is opened beside them: what waits in the backlog of a socket of ours would be lost with this
    /// process.
    ///
    /// # Errors
    /// [`ListenError`]
    pub(super) fn inherit(
        passed: Vec<TcpListener>,
        secure: &[SocketAddr],
        there: Vec<TcpListener>,
        threads: usize,
    ) -> Result<Self, ListenError> {
        let threads = threads.max(1);
        let plain = share_out(by_address(passed)?, threads)?;
        let secure = take_or_open("https.listen", secure, there, threads)?;
        Self::of(plain, secure, true).bounded(threads)
    }

    /// Listens where the configuration says, on sockets of the process before this one where it has some there. Those of
    /// other addresses are closed.
    ///
    /// # Errors
    /// [`ListenError`]
    pub(super) fn follow(
        (plain, plain_there): (&[SocketAddr], Vec<TcpListener>),
        (secure, secure_there): (&[SocketAddr], Vec<TcpListener>),
        threads: usize,
    ) -> Result<Self, ListenError> {
        let threads = threads.max(1);
        let plain = take_or_open("http.listen", plain, plain_there, threads)?;
        let secure = take_or_open("https.listen", secure, secure_there, threads)?;
        Self::of(plain, secure, false).bounded(threads)
    }

    fn bounded(self, threads: usize) -> Result<Self, ListenError> {
        let sockets = threads * self.per_thread;
        if sockets > edge_config::HTTP_SOCKETS_MAX as usize {
            return Err(ListenError::TooMany { threads, sockets });
        }
        Ok(self)
    }

    fn of(plain: Opened, secure: Opened, are_others: bool) -> Self {
        let secure_per_thread = secure.sockets.first().map_or(0, Vec::len);
        let sockets = plain.sockets.into_iter().zip(secure.sockets);
        let sockets: Vec<Vec<OwnedFd>> = sockets
            .map(|(plain, secure)| plain.into_iter().chain(secure).collect())
            .collect();
        Self {
            per_thread: sockets.first().map_or(0, Vec::len),
            sockets: Mutex::new(Arc::new(sockets.into_iter().flatten().collect())),
            are_others,
            secure_per_thread,
            plain: plain.addresses,
            secure: secure.addresses,
        }
    }

    /// Where plain connections are taken, ports known.
    pub(super) fn addresses(&self) -> &[SocketAddr] {
        &self.plain
    }

    /// Where connections over TLS are taken, ports known.
    pub(super) fn secure_addresses(&self) -> &[SocketAddr] {
        &self.secure
    }

    /// How many sockets each thread has.
    pub(super) fn per_thread(&self) -> usize {
        self.per_thread
    }

    /// How many of them, at the end, are for TLS.
    pub(super) fn secure_per_thread(&self) -> usize {
        self.secure_per_thread
    }

    /// Whether whoever opened those for plain HTTP has them too, and stays when this process ends.
    pub(super) fn are_others(&self) -> bool {
        self.are_others
    }

    /// One thread's sockets after another.
    pub(super) fn sockets(&self) -> Arc<Vec<OwnedFd>> {
        Arc::clone(&self.sockets.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Closes them here: when workers have closed theirs too, and nobody else has them, connections are refused.
    pub(super) fn close(&self) {
        *self.sockets.lock().unwrap_or_else(PoisonError::into_inner) = Arc::default();
    }

    /// Whether they were.
    pub(super) fn are_closed(&self) -> bool {
        self.sockets().is_empty()
    }
}

/// Sockets that are open, by where they listen.
type ByAddress = Vec<(SocketAddr, Vec<TcpListener>)>;

fn by_address(sockets: Vec<TcpListener>) -> Result<ByAddress, ListenError> {
    let mut by_address = ByAddress::new();
    for socket in sockets {
        socket
            .set_nonblocking(true)
            .map_err(ListenError::Inherited)?;
        let address = socket.local_addr().map_err(ListenError::Inherited)?;
        match by_address.iter_mut().find(|(known, _)| *known == address) {
            Some((_, sockets)) => sockets.push(socket),
            None => by_address.push((address, vec![socket])),
        }
    }
    Ok(by_address)
}

/// Each thread's share of sockets: each socket is somebody's.
fn share_out(by_address: ByAddress, threads: usize) -> Result<Opened, ListenError> {
    let mut sockets = Vec::new();
    for thread in 0..threads {
        let mut of_thread = Vec::new();
        for (_, own) in &by_address {
            let mine = own.iter().cycle().skip(thread).step_by(threads);
            for socket in mine.take(own.len().div_ceil(threads)) {
                let socket = socket.try_clone().map_err(ListenError::Inherited)?;
                of_thread.push(socket.into());
            }
        }
        sockets.push(of_thread);
    }
    Ok(Opened {
        sockets,
        addresses: by_address.into_iter().map(|(address, _)| address).collect(),
    })
}

/// Sockets for these addresses: those that are there, and new ones for the rest. A port of 0 means any that is there.
fn take_or_open(
    key: &'static str,
    addresses: &[SocketAddr],
    there: Vec<TcpListener>,
    threads: usize,
) -> Result<Opened, ListenError> {
    let mut there = by_address(there)?;
    let mut opened = Opened {
        sockets: std::iter::repeat_with(Vec::new).take(threads).collect(),
        addresses: Vec::new(),
    };
    for address in addresses {
        let same = |(known, _): &(SocketAddr, _)| {
            known == address || (address.port() == 0 && known.ip() == address.ip())
        };
        let more = match there.iter().position(same) {
            Some(at) => share_out(vec![there.swap_remove(at)], threads)?,
            None => open_each(key, &[*address], threads)?,
        };
        for (of_thread, more) in opened.sockets.iter_mut().zip(more.sockets) {
            of_thread.extend(more);
        }
        opened.addresses.extend(more.addresses);
    }
    Ok(opened)
}

/// Sockets by thread, and where they listen.
struct Opened {
    sockets: Vec<Vec<OwnedFd>>,
    addresses: Vec<SocketAddr>,
}

fn open_each(
    key: &'static str,
    addresses: &[SocketAddr],
    threads: usize,
) -> Result<Opened, ListenError> {
    let mut opened = Opened {
        sockets: Vec::new(),
        addresses: addresses.to_vec(),
    };
    for _ in 0..threads {
        let mut of_thread = Vec::new();
        for address in &mut opened.addresses {
            let (socket, bound) = open(*address).map_err(|source| ListenError::Bind {
                key,
                address: *address,
                source,
            })?;
            // The port that was chosen for the first thread is the others' too.
            *address = bound;
            of_thread.push(socket);
        }
        opened.sockets.push(of_thread);
    }
    Ok(opened)
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

#[cfg(test)]
mod tests {
    use rustix::fs::fstat;

    use super::*;

    /// Which of the passed sockets each thread accepts on.
    fn shared_out(passed: &[&str], threads: usize) -> Vec<Vec<usize>> {
        let opened: Vec<TcpListener> = passed
            .iter()
            .map(|address| TcpListener::bind(address).unwrap())
            .collect();
        let inode = |socket: &dyn std::os::fd::AsFd| fstat(socket).unwrap().st_ino;
        let inodes: Vec<u64> = opened.iter().map(|socket| inode(socket)).collect();
        let listeners = Listeners::inherit(opened, &[], Vec::new(), threads).unwrap();
        listeners
            .sockets()
            .chunks(listeners.per_thread())
            .map(|own| {
                let which = |socket| inodes.iter().position(|known| *known == inode(socket));
                own.iter().map(|socket| which(socket).unwrap()).collect()
            })
            .collect()
    }

    #[test]
    fn passed_sockets_are_shared_out_so_that_each_is_accepted_on() {
        let any = "127.0.0.1:0";
        assert_eq!(shared_out(&[any], 2), [[0], [0]]);
        assert_eq!(shared_out(&[any, any], 2), [[0, 1], [0, 1]], "two ports");
        assert_eq!(shared_out(&[any], 1), [[0]]);
    }

    #[test]
    fn passed_sockets_of_one_address_go_to_different_threads() {
        let first = open(([127, 0, 0, 1], 0).into()).unwrap();
        let mut passed = vec![TcpListener::from(first.0)];
        for _ in 0..2 {
            passed.push(TcpListener::from(open(first.1).unwrap().0));
        }
        let again = passed.iter().map(|socket| socket.try_clone().unwrap());
        let listeners = Listeners::inherit(again.collect(), &[], Vec::new(), 2).unwrap();
        assert_eq!(listeners.addresses(), [first.1]);
        let inode = |socket: &dyn std::os::fd::AsFd| fstat(socket).unwrap().st_ino;
        let of: Vec<u64> = listeners.sockets().iter().map(|s| inode(s)).collect();
        let [a, b, c] = [0, 1, 2].map(|index| inode(&passed[index]));
        assert_eq!((listeners.per_thread(), of), (2, vec![a, c, b, a]));
    }

    #[test]
    fn more_than_a_worker_takes_are_refused() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let refused = Listeners::inherit(vec![socket], &[], Vec::new(), 129)
            .err()
            .unwrap();
        assert!(
            refused.to_string().contains("129 sockets; at most 128"),
            "{refused}"
        );
    }

    #[test]
    fn what_follows_keeps_sockets_of_the_same_addresses_opens_others_and_closes_the_rest() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let open_there = || {
            let opened = open_each("http.listen", &[any], 3).unwrap();
            let sockets = opened.sockets.into_iter().flatten().map(TcpListener::from);
            (opened.addresses[0], sockets.collect::<Vec<_>>())
        };
        let ((kept, mut there), (gone, others)) = (open_there(), open_there());
        let inode = |socket: &dyn std::os::fd::AsFd| fstat(socket).unwrap().st_ino;
        let mut before: Vec<_> = there.iter().map(|socket| inode(socket)).collect();
        there.extend(others);
        let new = SocketAddr::from(([127, 0, 0, 2], 0));
        let listeners = Listeners::follow((&[kept, new], there), (&[], Vec::new()), 2).unwrap();
        // Three sockets for two threads: one of them twice, none left out; and one a thread for the new address.
        assert_eq!(
            (listeners.per_thread(), listeners.secure_per_thread()),
            (3, 0)
        );
        let mut now: Vec<_> = listeners
            .sockets()
            .iter()
            .map(|socket| inode(socket))
            .collect();
        now.retain(|inode| before.contains(inode));
        now.sort_unstable();
        now.dedup();
        before.sort_unstable();
        assert_eq!(now, before);
        let [first, second] = [0, 1].map(|index| listeners.addresses()[index]);
        assert_eq!((first, second.ip()), (kept, new.ip()));
        assert!(std::net::TcpStream::connect(second).is_ok());
        assert!(std::net::TcpStream::connect(gone).is_err());
    }
}
