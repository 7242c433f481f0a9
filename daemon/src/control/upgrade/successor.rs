//! The side that takes over.

use std::net::TcpListener;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::Duration;

use edge_config::Config;

use super::{PROTOCOL, ToPredecessor, ToSuccessor};
use crate::control::service::Inherited;
use crate::link::{FrameBounds, FrameError, LinkReader, LinkWriter, split};

/// The process before this one says what comes next within this time.
const HEARD_MAX: Duration = Duration::from_secs(60);

/// Why this process does not take over.
#[derive(Debug, thiserror::Error)]
pub enum TakeOverError {
    /// It speaks otherwise.
    #[error(
        "the process before this one speaks {theirs}, this one {PROTOCOL}: restart the node instead"
    )]
    Protocol {
        /// Its number.
        theirs: u32,
    },
    /// There is none.
    #[error("standard input is no link to a process before this one")]
    NoLink(#[source] std::io::Error),
    /// The link broke: it goes on, or is gone.
    #[error("the link to the process before this one")]
    Link(#[from] FrameError),
    /// It says nothing.
    #[error("the process before this one says nothing")]
    Silent,
    /// It says something else.
    #[error("the process before this one says something else than was expected")]
    Confused,
    /// Another node's.
    #[error(
        "node.data_dir cannot change from {} to {} by an upgrade: restart the node", before.display(), now.display()
    )]
    OtherData {
        /// Of the process before.
        before: PathBuf,
        /// As configured now.
        now: PathBuf,
    },
}

/// The process before this one, which serves until this one does.
pub struct Predecessor {
    reader: LinkReader,
    writer: LinkWriter,
    pub(in crate::control) who: String,
    pub(in crate::control) request_id: String,
    pub(in crate::control) version: String,
}

impl Predecessor {
    /// What the process before this one passes, over standard input. Nothing is opened.
    ///
    /// # Errors
    /// [`TakeOverError`]
    pub async fn meet(protocol: u32, config: &Config) -> Result<(Self, Inherited), TakeOverError> {
        if protocol != PROTOCOL {
            return Err(TakeOverError::Protocol { theirs: protocol });
        }
        let socket = std::io::stdin().as_fd().try_clone_to_owned();
        let socket = socket.map_err(TakeOverError::NoLink)?;
        let (mut reader, writer) =
            split(UnixStream::from(socket), FrameBounds::COMPILE).map_err(TakeOverError::NoLink)?;
        let heard = tokio::time::timeout(HEARD_MAX, reader.receive::<ToSuccessor>()).await;
        let (
            ToSuccessor::Sockets {
                data_dir,
                http,
                http_passed,
                https,
                admin_unix,
                admin_passed,
                who,
                request_id,
                version,
            },
            files,
        ) = heard.map_err(|_| TakeOverError::Silent)??
        else {
            return Err(TakeOverError::Confused);
        };
        if data_dir != config.node.data_dir {
            return Err(TakeOverError::OtherData {
                before: data_dir,
                now: config.node.data_dir.clone(),
            });
        }
        let to_usize = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let mut files = files.into_iter();
        let mut take = |count: u32| -> Vec<TcpListener> {
            files
                .by_ref()
                .take(to_usize(count))
                .map(TcpListener::from)
                .collect()
        };
        let mut inherited = Inherited::default();
        let http = take(http);
        if http_passed {
            inherited.http = http;
        } else {
            inherited.http_before = http;
        }
        inherited.https_before = take(https);
        for (is_unix, file) in admin_unix.into_iter().zip(files) {
            let (tcp, unix): (Option<OwnedFd>, Option<OwnedFd>) = if is_unix {
                (None, Some(file))
            } else {
                (Some(file), None)
            };
            let (tcp, unix) = (tcp.map(TcpListener::from), unix.map(UnixListener::from));
            if admin_passed {
                inherited.admin_tcp.extend(tcp);
                inherited.admin_unix.extend(unix);
            } else {
                inherited.admin_tcp_before = inherited.admin_tcp_before.or(tcp);
                inherited.admin_unix_before = inherited.admin_unix_before.or(unix);
            }
        }
        let predecessor = Self {
            reader,
            writer,
            who,
            request_id,
            version,
        };
        Ok((predecessor, inherited))
    }

    /// Asks for the store, and waits until it is free.
    pub(in crate::control) async fn give_store(&mut self) -> Result<(), TakeOverError> {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        self.writer
            .send(&ToPredecessor::WantsStore { version }, &[])
            .await?;
        match self.hear().await? {
            ToSuccessor::StoreIsFree => Ok(()),
            _ => Err(TakeOverError::Confused),
        }
    }

    /// Says that connections are accepted here, and waits for the word that this process is the node.
    pub(in crate::control) async fn give_way(&mut self) -> Result<(), TakeOverError> {
        self.writer.send(&ToPredecessor::Accepts, &[]).await?;
        match self.hear().await? {
            ToSuccessor::Serve => Ok(()),
            _ => Err(TakeOverError::Confused),
        }
    }

    /// Ready when it has ended.
    pub(in crate::control) async fn gone(mut self) {
        // It says no more; whatever comes is its end.
        drop(self.reader.receive::<ToSuccessor>().await);
    }

    async fn hear(&mut self) -> Result<ToSuccessor, TakeOverError> {
        let heard = tokio::time::timeout(HEARD_MAX, self.reader.receive::<ToSuccessor>()).await;
        Ok(heard.map_err(|_| TakeOverError::Silent)??.0)
    }
}
