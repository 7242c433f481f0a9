//! Frames with open files over a Unix stream socket.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::Interest;
use tokio::net::UnixStream;

/// The longest payload that control sends a worker, in bytes: a piece of the routing table. No frame is ever longer.
pub(super) const TO_WORKER_BYTES_MAX: usize = 16 << 20;
/// The longest payload that control takes from a worker, in bytes: a piece of a report, or guests' lines. Guests' code
/// runs there: what it may make control allocate is bounded by what it needs.
pub(super) const FROM_WORKER_BYTES_MAX: usize = 4 << 20;
/// The longest payload between control and a compile child, in bytes: an inspection with as many imports and exports,
/// of names as long, as one may have.
pub(super) const COMPILE_BYTES_MAX: usize = 1 << 20;
/// Most open files in one frame: the listening sockets of a node, its folder of artifacts and its flight record.
pub const FILES_MAX: usize = edge_config::HTTP_SOCKETS_MAX as usize + 2;

/// The longest payloads at one end of a link, in bytes. What one end sends is what the other takes.
#[derive(Debug, Clone, Copy)]
pub struct FrameBounds {
    /// Taken from the other end.
    pub received_bytes_max: usize,
    /// Sent to it; a longer one is refused here, where the link goes on, and not there, where it would end.
    pub sent_bytes_max: usize,
}

impl FrameBounds {
    /// Control's end of the link to a worker.
    pub const CONTROL: Self = Self {
        received_bytes_max: FROM_WORKER_BYTES_MAX,
        sent_bytes_max: TO_WORKER_BYTES_MAX,
    };
    /// A worker's end.
    pub const WORKER: Self = Self {
        received_bytes_max: TO_WORKER_BYTES_MAX,
        sent_bytes_max: FROM_WORKER_BYTES_MAX,
    };
    /// Both ends of the link to a compile child.
    pub const COMPILE: Self = Self {
        received_bytes_max: COMPILE_BYTES_MAX,
        sent_bytes_max: COMPILE_BYTES_MAX,
    };
}
/// `[payload bytes, files]`, both `u32` in native order: both ends are on one machine.
const HEADER_BYTES: usize = 8;

/// Why a frame was not sent or received.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The other end is gone.
    #[error("the link is closed")]
    Closed,
    /// The socket failed.
    #[error("the link failed")]
    Io(#[from] io::Error),
    /// More than a frame may carry.
    #[error(
        "a frame of {bytes} bytes and {files} files; at most {bytes_max} and {FILES_MAX} are allowed"
    )]
    TooLarge {
        /// Payload length.
        bytes: usize,
        /// Open files.
        files: usize,
        /// The longest payload that is sent or taken here.
        bytes_max: usize,
    },
    /// Not what the other end of the same build would send.
    #[error("a frame that is not well formed")]
    Malformed(#[from] postcard::Error),
}

/// Makes a connected socket into its two halves.
///
/// # Errors
/// If the socket cannot be made non-blocking or registered; must be called inside a tokio runtime.
pub fn split(socket: StdUnixStream, bounds: FrameBounds) -> io::Result<(LinkReader, LinkWriter)> {
    socket.set_nonblocking(true)?;
    let socket = Arc::new(UnixStream::from_std(socket)?);
    Ok((
        LinkReader {
            socket: Arc::clone(&socket),
            received_bytes_max: bounds.received_bytes_max,
        },
        LinkWriter {
            socket,
            sent_bytes_max: bounds.sent_bytes_max,
            frame: Vec::new(),
        },
    ))
}

/// The receiving half.
pub struct LinkReader {
    socket: Arc<UnixStream>,
    received_bytes_max: usize,
}

/// The sending half.
pub struct LinkWriter {
    socket: Arc<UnixStream>,
    sent_bytes_max: usize,
    frame: Vec<u8>,
}

impl LinkWriter {
    /// Sends one message with open files.
    ///
    /// # Errors
    /// [`FrameError::TooLarge`] for what the other end would not take: nothing was sent, and the link goes on.
    /// [`FrameError::Closed`] once the other end is gone; the link is of no use after any other error.
    ///
    /// # Cancel safety
    /// Not cancel safe: dropped half-way, the stream ends inside a frame. Called from one task that owns it.
    pub async fn send<T: Serialize>(
        &mut self,
        message: &T,
        files: &[BorrowedFd<'_>],
    ) -> Result<(), FrameError> {
        self.frame.clear();
        self.frame.resize(HEADER_BYTES, 0);
        let frame = std::mem::take(&mut self.frame);
        self.frame = postcard::to_extend(message, frame)?;
        let payload = self.frame.len().saturating_sub(HEADER_BYTES);
        let too_large = FrameError::TooLarge {
            bytes: payload,
            files: files.len(),
            bytes_max: self.sent_bytes_max,
        };
        if payload > self.sent_bytes_max || files.len() > FILES_MAX {
            return Err(too_large);
        }
        let (Ok(payload), Ok(count)) = (u32::try_from(payload), u32::try_from(files.len())) else {
            return Err(too_large);
        };
        let header = self
            .frame
            .get_mut(..HEADER_BYTES)
            .ok_or(FrameError::Closed)?;
        header.copy_from_slice(&pack(payload, count));
        let mut sent = 0;
        while let Some(rest) = self.frame.get(sent..).filter(|rest| !rest.is_empty()) {
            let files = if sent == 0 { files } else { &[] };
            self.socket.writable().await?;
            match self
                .socket
                .try_io(Interest::WRITABLE, || send_part(&self.socket, rest, files))
            {
                Ok(0) => return Err(FrameError::Closed),
                Ok(bytes) => sent += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(closed_or(error)),
            }
        }
        // A routing table of a full node must not stay allocated for every later small message.
        if self.frame.capacity() > 1 << 20 {
            self.frame = Vec::new();
        }
        Ok(())
    }
}

impl LinkReader {
    /// Receives one message with its open files, in the order they were sent.
    ///
    /// # Errors
    /// [`FrameError::Closed`] at the orderly end; the link is of no use after any error.
    ///
    /// # Cancel safety
    /// Not cancel safe: called in a loop by one task that owns it.
    pub async fn receive<T: DeserializeOwned>(&mut self) -> Result<(T, Vec<OwnedFd>), FrameError> {
        let mut files = Vec::new();
        let mut header = [0; HEADER_BYTES];
        self.fill(&mut header, &mut files).await?;
        let (payload_bytes, count) = unpack(header);
        let too_large = |files| FrameError::TooLarge {
            bytes: payload_bytes,
            files,
            bytes_max: self.received_bytes_max,
        };
        if payload_bytes > self.received_bytes_max || count > FILES_MAX {
            return Err(too_large(count));
        }
        let mut payload = vec![0; payload_bytes];
        self.fill(&mut payload, &mut files).await?;
        if files.len() != count {
            return Err(too_large(files.len()));
        }
        Ok((postcard::from_bytes(&payload)?, files))
    }

    async fn fill(&self, buffer: &mut [u8], files: &mut Vec<OwnedFd>) -> Result<(), FrameError> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            self.socket.readable().await?;
            match self.socket.try_io(Interest::READABLE, || {
                receive_part(&self.socket, rest, files)
            }) {
                Ok(0) => return Err(FrameError::Closed),
                Ok(bytes) => filled += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(closed_or(error)),
            }
        }
        Ok(())
    }
}

fn closed_or(error: io::Error) -> FrameError {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => FrameError::Closed,
        _ => FrameError::Io(error),
    }
}

fn send_part(socket: &UnixStream, bytes: &[u8], files: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !files.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(files));
    }
    Ok(sendmsg(
        socket.as_fd(),
        &[IoSlice::new(bytes)],
        &mut ancillary,
        SendFlags::NOSIGNAL,
    )?)
}

fn receive_part(
    socket: &UnixStream,
    bytes: &mut [u8],
    files: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(
        socket.as_fd(),
        &mut [IoSliceMut::new(bytes)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            files.extend(received);
        }
    }
    Ok(received.bytes)
}

fn pack(payload: u32, files: u32) -> [u8; HEADER_BYTES] {
    (u64::from(payload) << 32 | u64::from(files)).to_ne_bytes()
}

fn unpack(header: [u8; HEADER_BYTES]) -> (usize, usize) {
    let both = u64::from_ne_bytes(header);
    let half = |bits: u64| usize::try_from(bits & u64::from(u32::MAX)).unwrap_or(usize::MAX);
    (half(both >> 32), half(both))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Seek, Write};

    use super::*;

    fn both(bytes_max: usize) -> FrameBounds {
        FrameBounds {
            received_bytes_max: bytes_max,
            sent_bytes_max: bytes_max,
        }
    }

    fn pair() -> ((LinkReader, LinkWriter), (LinkReader, LinkWriter)) {
        let (a, b) = StdUnixStream::pair().unwrap();
        (
            split(a, FrameBounds::CONTROL).unwrap(),
            split(b, FrameBounds::WORKER).unwrap(),
        )
    }

    #[tokio::test]
    async fn messages_keep_their_order_and_their_files() {
        let ((_, mut writer), (mut reader, _)) = pair();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"native code").unwrap();
        writer.send(&"first".to_owned(), &[]).await.unwrap();
        writer
            .send(&"second".to_owned(), &[file.as_fd()])
            .await
            .unwrap();
        writer.send(&"third".to_owned(), &[]).await.unwrap();
        let (first, files) = reader.receive::<String>().await.unwrap();
        assert_eq!((first.as_str(), files.len()), ("first", 0));
        let (second, mut files) = reader.receive::<String>().await.unwrap();
        assert_eq!((second.as_str(), files.len()), ("second", 1));
        let mut received = File::from(files.remove(0));
        received.rewind().unwrap();
        let mut text = String::new();
        received.read_to_string(&mut text).unwrap();
        assert_eq!(text, "native code");
        assert_eq!(reader.receive::<String>().await.unwrap().0, "third");
    }

    #[tokio::test]
    async fn a_frame_larger_than_the_socket_buffer_arrives_whole() {
        let ((_, mut writer), (mut reader, _)) = pair();
        let sent: Vec<u32> = (0..900_000).collect();
        let (sending, received) =
            tokio::join!(writer.send(&sent, &[]), reader.receive::<Vec<u32>>());
        sending.unwrap();
        assert_eq!(received.unwrap().0, sent);
    }

    #[tokio::test]
    async fn the_end_of_the_other_side_is_an_orderly_end() {
        let ((mut reader, mut writer), other) = pair();
        drop(other);
        assert!(matches!(
            reader.receive::<String>().await,
            Err(FrameError::Closed)
        ));
        assert!(matches!(
            writer.send(&(), &[]).await,
            Err(FrameError::Closed)
        ));
    }

    #[tokio::test]
    async fn a_frame_that_announces_too_much_is_refused_before_it_is_read() {
        for bytes_max in [
            TO_WORKER_BYTES_MAX,
            FROM_WORKER_BYTES_MAX,
            COMPILE_BYTES_MAX,
        ] {
            for announced in [u32::try_from(bytes_max).unwrap() + 1, u32::MAX] {
                let (mut a, b) = StdUnixStream::pair().unwrap();
                let (mut reader, _writer) = split(b, both(bytes_max)).unwrap();
                a.write_all(&pack(announced, 0)).unwrap();
                let error = reader.receive::<String>().await.unwrap_err();
                assert_eq!(
                    error.to_string(),
                    format!(
                        "a frame of {announced} bytes and 0 files; \
                         at most {bytes_max} and {FILES_MAX} are allowed"
                    )
                );
            }
        }
    }

    #[tokio::test]
    async fn a_frame_as_long_as_is_taken_arrives_and_a_longer_one_is_not_sent() {
        let (a, b) = StdUnixStream::pair().unwrap();
        let (_, mut writer) = split(a, both(1000)).unwrap();
        let (mut reader, _) = split(b, both(1000)).unwrap();
        // Postcard puts the length, in two bytes, before the text.
        let (fits, longer) = ("x".repeat(998), "x".repeat(999));
        for _ in 0..2 {
            assert!(matches!(
                writer.send(&longer, &[]).await,
                Err(FrameError::TooLarge {
                    bytes: 1001,
                    bytes_max: 1000,
                    ..
                })
            ));
            writer.send(&fits, &[]).await.unwrap();
            assert_eq!(reader.receive::<String>().await.unwrap().0, fits);
        }
    }

    #[tokio::test]
    async fn a_frame_longer_than_is_taken_ends_the_link() {
        let (a, b) = StdUnixStream::pair().unwrap();
        let (_, mut writer) = split(a, both(2000)).unwrap();
        let (mut reader, _) = split(b, both(1000)).unwrap();
        writer.send(&"x".repeat(999), &[]).await.unwrap();
        assert!(matches!(
            reader.receive::<String>().await,
            Err(FrameError::TooLarge {
                bytes: 1001,
                bytes_max: 1000,
                ..
            })
        ));
    }
}
