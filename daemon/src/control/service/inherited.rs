//! Listening sockets that a service manager opened beforehand (`sd_listen_fds(3)`).
//!
//! They stay open there while a node is replaced, so that connections wait in their backlogs instead of being refused.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;

use listenfd::ListenFd;
use rustix::net::sockopt::socket_acceptconn;

/// The name of sockets that guests are served on.
const HTTP: &str = "http";
/// The name of sockets that the admin API is served on.
const ADMIN: &str = "admin";
/// Most sockets that are taken over.
const SOCKETS_MAX: usize = edge_config::HTTP_SOCKETS_MAX as usize;

/// Sockets that were passed, by what they are for. Where there are some, the addresses that the configuration has for the
/// same are not listened on.
#[derive(Debug, Default)]
pub struct Inherited {
    /// For guests.
    pub http: Vec<TcpListener>,
    /// For the admin API, on loopback.
    pub admin_tcp: Vec<TcpListener>,
    /// For the admin API.
    pub admin_unix: Vec<UnixListener>,
    /// Those that the process before this one opened, where this one takes over: for guests,
    pub(in crate::control) http_before: Vec<TcpListener>,
    /// for guests over TLS,
    pub(in crate::control) https_before: Vec<TcpListener>,
    /// for the admin API where the configuration has it listen,
    pub(in crate::control) admin_tcp_before: Option<TcpListener>,
    /// and on its Unix socket.
    pub(in crate::control) admin_unix_before: Option<UnixListener>,
}

/// What was passed cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InheritedError {
    /// How many there are is not said, or too many.
    #[error("LISTEN_FDS={value} is not a number of sockets; allowed are 0 to {SOCKETS_MAX}")]
    Count {
        /// As passed.
        value: String,
    },
    /// Not one name a socket.
    #[error(
        "LISTEN_FDNAMES has {names} names for {sockets} sockets; each needs one, \"{HTTP}\" or \"{ADMIN}\" (FileDescriptorName= of the socket unit)"
    )]
    Names {
        /// How many names.
        names: usize,
        /// How many sockets.
        sockets: usize,
    },
    /// A name that nothing is served under.
    #[error(
        "a socket is named {name:?}; allowed are \"{HTTP}\" and \"{ADMIN}\" (FileDescriptorName= of the socket unit)"
    )]
    Name {
        /// As passed.
        name: String,
    },
    /// Not a socket that connections arrive at.
    #[error("the {number}. socket, {name:?}, does not listen for {allowed} connections")]
    Kind {
        /// Counted from one.
        number: usize,
        /// Its name.
        name: String,
        /// What it should be.
        allowed: &'static str,
    },
    /// The admin API would be within reach of others.
    #[error(
        "the admin socket listens on {address}, which is not on loopback; allowed are 127.0.0.0/8 and ::1"
    )]
    NotLoopback {
        /// Where.
        address: SocketAddr,
    },
}

impl Inherited {
    /// Takes over what `LISTEN_FDS` says was passed to this process. Comes once, while the process has one thread: the
    /// variables are removed.
    ///
    /// # Errors
    /// [`InheritedError`]
    pub(super) fn from_environment() -> Result<Self, InheritedError> {
        let Some(value) = std::env::var_os("LISTEN_FDS") else {
            return Ok(Self::default());
        };
        let value = value.to_string_lossy().into_owned();
        if value
            .parse::<usize>()
            .map_or(true, |count| count > SOCKETS_MAX)
        {
            return Err(InheritedError::Count { value });
        }
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut passed = ListenFd::from_env();
        let sockets = passed.len();
        // None where they were passed to another process, whose environment this one has.
        if sockets == 0 {
            return Ok(Self::default());
        }
        let names: Vec<&str> = match names.as_str() {
            "" => Vec::new(),
            names => names.split(':').collect(),
        };
        if names.len() != sockets {
            return Err(InheritedError::Names {
                names: names.len(),
                sockets,
            });
        }
        let mut inherited = Self::default();
        for (index, name) in names.into_iter().enumerate() {
            inherited.take(&mut passed, index, name)?;
        }
        Ok(inherited)
    }

    fn take(
        &mut self,
        passed: &mut ListenFd,
        index: usize,
        name: &str,
    ) -> Result<(), InheritedError> {
        let kind = |allowed| InheritedError::Kind {
            number: index + 1,
            name: name.to_owned(),
            allowed,
        };
        let tcp = passed.take_tcp_listener(index).ok().flatten();
        let tcp = tcp.filter(|socket| listens(socket));
        match (name, tcp) {
            (HTTP, Some(socket)) => self.http.push(socket),
            (HTTP, None) => return Err(kind("TCP")),
            (ADMIN, Some(socket)) => {
                let address = socket.local_addr().map_err(|_| kind("TCP"))?;
                if !address.ip().is_loopback() {
                    return Err(InheritedError::NotLoopback { address });
                }
                self.admin_tcp.push(socket);
            }
            (ADMIN, None) => {
                let unix = passed.take_unix_listener(index).ok().flatten();
                let unix = unix.filter(|socket| listens(socket));
                self.admin_unix
                    .push(unix.ok_or_else(|| kind("TCP or Unix"))?);
            }
            _ => {
                return Err(InheritedError::Name {
                    name: name.to_owned(),
                });
            }
        }
        Ok(())
    }

    /// Whether the admin API has sockets here.
    pub(in crate::control) fn has_admin(&self) -> bool {
        !self.admin_tcp.is_empty() || !self.admin_unix.is_empty()
    }
}

fn listens(socket: impl AsFd) -> bool {
    socket_acceptconn(socket).unwrap_or(false)
}
