//! A connection to a database: the socket that control made, TLS on it where that is asked for, and bounds on what moves.

use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;

use super::failure::Failure;
use crate::host::outbound::{self, Trust};
use crate::quota::{Direction, OutboundAccount};

/// Bytes that are read at a time, at least.
const READ_BYTES: usize = 8 << 10;

/// Closed when it is dropped.
pub(super) struct Wire {
    stream: Stream,
    account: Arc<OutboundAccount>,
    /// What was read and not yet taken.
    pub(super) buffer: BytesMut,
    /// Bytes that may still come before the answer is too large.
    left: u64,
    most: u64,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// It broke while TLS was being made.
    None,
}

impl Wire {
    /// On a connection just made.
    pub(super) fn new(stream: TcpStream, account: Arc<OutboundAccount>) -> Self {
        Self {
            stream: Stream::Plain(stream),
            account,
            buffer: BytesMut::new(),
            left: 0,
            most: 0,
        }
    }

    /// From here on all is encrypted, and the other side is who `host` names.
    ///
    /// # Errors
    /// [`Failure::Outbound`].
    ///
    /// # Cancel safety
    /// Dropped, the connection is of no more use.
    pub(super) async fn encrypt(&mut self, trust: &Trust, host: &str) -> Result<(), Failure> {
        // What came before it was encrypted is nobody's word.
        if !self.buffer.is_empty() {
            return Err(outbound::Failure::Tls("something came before it".to_owned()).into());
        }
        let Stream::Plain(stream) = std::mem::replace(&mut self.stream, Stream::None) else {
            return Err(Failure::Closed);
        };
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| outbound::Failure::Tls(error.to_string()))?;
        let connector = trust
            .connector()
            .ok_or_else(|| outbound::Failure::Tls("it is not offered".to_owned()))?;
        let stream = connector.connect(name, stream).await;
        let stream = stream.map_err(|error| outbound::Failure::in_tls(&error))?;
        self.stream = Stream::Tls(Box::new(stream));
        Ok(())
    }

    /// What follows may have this many bytes.
    pub(super) fn expect(&mut self, bytes_max: u64) {
        self.left = bytes_max;
        self.most = bytes_max;
    }

    /// Takes so much off what may still come, beyond the bytes themselves: what they become takes memory too.
    ///
    /// # Errors
    /// [`Failure::ReceivedTooLarge`].
    pub(super) fn count(&mut self, bytes: usize) -> Result<(), Failure> {
        let left = self.left.checked_sub(bytes as u64);
        self.left = left.ok_or(Failure::ReceivedTooLarge(self.most))?;
        Ok(())
    }

    /// Whether so many bytes more could still come.
    ///
    /// # Errors
    /// [`Failure::ReceivedTooLarge`].
    pub(super) fn may_come(&self, bytes: usize) -> Result<(), Failure> {
        let missing = bytes.saturating_sub(self.buffer.len());
        if missing as u64 > self.left {
            return Err(Failure::ReceivedTooLarge(self.most));
        }
        Ok(())
    }

    /// Sends all of it.
    ///
    /// # Errors
    /// [`Failure::Outbound`] where the connection ended.
    ///
    /// # Cancel safety
    /// Dropped, some of it may have been sent: the connection is of no more use.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let sent = match &mut self.stream {
            Stream::Plain(stream) => stream.write_all(bytes).await,
            Stream::Tls(stream) => match stream.write_all(bytes).await {
                Ok(()) => stream.flush().await,
                error => error,
            },
            Stream::None => return Err(Failure::Closed),
        };
        sent.map_err(|error| Failure::broken(&error))?;
        self.account.moved(Direction::Request, bytes.len());
        Ok(())
    }

    /// Reads until there are so many bytes in the buffer at least.
    ///
    /// # Errors
    /// [`Failure::Outbound`] where the connection ended, [`Failure::ReceivedTooLarge`].
    ///
    /// # Cancel safety
    /// What was read is in the buffer.
    pub(super) async fn fill(&mut self, bytes: usize) -> Result<(), Failure> {
        self.may_come(bytes)?;
        while self.buffer.len() < bytes {
            self.read().await?;
        }
        Ok(())
    }

    /// Reads what there is, something at least.
    ///
    /// # Errors
    /// As [`Self::fill`].
    ///
    /// # Cancel safety
    /// As [`Self::fill`].
    pub(super) async fn read(&mut self) -> Result<(), Failure> {
        self.buffer.reserve(READ_BYTES);
        let read = match &mut self.stream {
            Stream::Plain(stream) => stream.read_buf(&mut self.buffer).await,
            Stream::Tls(stream) => stream.read_buf(&mut self.buffer).await,
            Stream::None => return Err(Failure::Closed),
        };
        let read = read.map_err(|error| Failure::broken(&error))?;
        if read == 0 {
            let closed = "the server closed it".to_owned();
            return Err(outbound::Failure::BrokenOff(closed).into());
        }
        self.account.moved(Direction::Response, read);
        self.count(read)
    }

    /// Whether nothing has come that nobody asked for, the end included.
    pub(super) fn is_quiet(&self) -> bool {
        let stream = match &self.stream {
            Stream::Plain(stream) => stream,
            Stream::Tls(stream) => {
                let (stream, tls) = stream.get_ref();
                if !tls.wants_read() {
                    // Something came that was decrypted already.
                    return false;
                }
                stream
            }
            Stream::None => return false,
        };
        let nothing = |error: std::io::Error| error.kind() == std::io::ErrorKind::WouldBlock;
        self.buffer.is_empty() && stream.try_read(&mut [0; 1]).err().is_some_and(nothing)
    }
}
