//! Signatures over the link: a worker that shakes hands asks, control, which has the private keys, signs.
//!
//! One pair of sockets for each thread that computes handshakes, made by control and passed with the start message, beside
//! the link itself: requests on it never wait behind a routing table, and as many signatures are under way as there are
//! pairs, no more. Message sockets (`SOCK_SEQPACKET`): a message is sent and received whole, by one call each. One
//! request is out at a time; each carries a number, so that an answer that came too late is not taken for the next one.
//!
//! What may be signed is bounded: [`is_of_a_handshake`]. Whoever has taken over a worker can pretend to be the sites that
//! it serves, for as long as it does; signatures under anything else (a certificate request, say) it does not get.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair,
};
use serde::{Deserialize, Serialize};

/// Most pairs of one worker.
pub const PAIRS_MAX: usize = 64;
/// The longest message either way, in bytes: more than what is signed in a handshake, and than a signature by the longest
/// key that is taken (RSA, 4096 bits).
const MESSAGE_BYTES_MAX: usize = 1024;
/// How long a worker waits for one signature. The longest that one takes is some milliseconds; control that is stopped or
/// swamped for longer must not hold handshake threads for good.
const SIGNATURE_MAX: Duration = Duration::from_secs(5);

/// Which private key: SHA-256 of the certificate that it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SigningKeyId(pub [u8; 32]);

/// What a worker asks for.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignRequest {
    number: u64,
    /// With which key.
    pub key: SigningKeyId,
    /// By which scheme: its number in TLS (RFC 8446 §4.2.3).
    pub scheme: u16,
    /// What is to be signed, not hashed.
    pub message: Vec<u8>,
}

/// What control answers.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SignReply {
    number: u64,
    /// `None`: the key is gone, cannot sign so, or the message is none of a handshake.
    signature: Option<Vec<u8>>,
}

/// Why there is no signature.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The socket failed, the other end is gone, or no answer came in time.
    #[error("the socket for signatures failed")]
    Io(#[from] io::Error),
    /// Not what the other end of the same build would send.
    #[error("a message that is not well formed")]
    Malformed(#[from] postcard::Error),
    /// Control does not sign this.
    #[error("control does not sign this with this key")]
    Refused,
}

/// One pair: control's end and a worker's.
///
/// # Errors
/// If the kernel has none left.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    // Set here and not by the worker, which may set no options of sockets by then.
    set_socket_timeout(&theirs, Timeout::Recv, Some(SIGNATURE_MAX))?;
    set_socket_timeout(&theirs, Timeout::Send, Some(SIGNATURE_MAX))?;
    Ok((ours, theirs))
}

/// A worker's end. Blocks: for threads that do nothing else.
pub struct Asking {
    socket: OwnedFd,
    number: u64,
}

impl Asking {
    /// Of a socket that control passed.
    #[must_use]
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket, number: 0 }
    }

    /// A signature by control. Returns within twice 5 s.
    ///
    /// # Errors
    /// [`SignError`]
    pub fn sign(
        &mut self,
        key: SigningKeyId,
        scheme: u16,
        message: &[u8],
    ) -> Result<Vec<u8>, SignError> {
        self.number = self.number.wrapping_add(1);
        let number = self.number;
        let request = SignRequest {
            number,
            key,
            scheme,
            message: message.to_vec(),
        };
        put(&self.socket, &request)?;
        loop {
            let Some(reply) = get::<SignReply>(&self.socket)? else {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            };
            // Of a request that was given up.
            if reply.number != number {
                continue;
            }
            return reply.signature.ok_or(SignError::Refused);
        }
    }
}

/// Control's end: answers requests with what `sign` says until the worker is gone. Blocks.
///
/// # Errors
/// [`SignError::Io`] and [`SignError::Malformed`]: the pair is of no use any more.
pub fn answer(
    socket: &OwnedFd,
    mut sign: impl FnMut(&SignRequest) -> Option<Vec<u8>>,
) -> Result<(), SignError> {
    while let Some(request) = get::<SignRequest>(socket)? {
        let signature = if is_of_a_handshake(&request.message) {
            sign(&request)
        } else {
            None
        };
        let number = request.number;
        match put(socket, &SignReply { number, signature }) {
            Err(SignError::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            other => other?,
        }
    }
    Ok(())
}

/// Whether a server signs such a message in a handshake: in TLS 1.3 (RFC 8446 §4.4.3) spaces, a fixed text and a hash;
/// in TLS 1.2 (RFC 8422 §5.4) two times 32 random bytes and the parameters of a named curve.
fn is_of_a_handshake(message: &[u8]) -> bool {
    const CONTEXT: &[u8] = b"TLS 1.3, server CertificateVerify\0";
    const NAMED_CURVE: u8 = 3;
    if let Some(rest) = message.strip_prefix(&[b' '; 64]) {
        // SHA-256 or SHA-384, the hashes of its cipher suites.
        return rest
            .strip_prefix(CONTEXT)
            .is_some_and(|hash| matches!(hash.len(), 32 | 48));
    }
    match message.get(64..) {
        Some([NAMED_CURVE, _, _, length, point @ ..]) => point.len() == usize::from(*length),
        _ => false,
    }
}

fn put<T: Serialize>(socket: impl AsFd, message: &T) -> Result<(), SignError> {
    let mut buffer = [0; MESSAGE_BYTES_MAX];
    let bytes = postcard::to_slice(message, &mut buffer)?;
    loop {
        match send(&socket, bytes, SendFlags::NOSIGNAL) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(io::Error::from(error).into()),
        }
    }
}

/// `None` at the orderly end.
fn get<T: for<'de> Deserialize<'de>>(socket: impl AsFd) -> Result<Option<T>, SignError> {
    let mut buffer = [0; MESSAGE_BYTES_MAX];
    let bytes = loop {
        match recv(&socket, &mut buffer, RecvFlags::empty()) {
            Ok((_, bytes)) => break bytes,
            Err(Errno::INTR) => {}
            Err(Errno::CONNRESET) => return Ok(None),
            Err(error) => return Err(io::Error::from(error).into()),
        }
    };
    match buffer.get(..bytes) {
        None | Some([]) => Ok(None),
        Some(bytes) => Ok(Some(postcard::from_bytes(bytes)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_tls_1_3(hash_bytes: usize) -> Vec<u8> {
        let mut message = vec![b' '; 64];
        message.extend_from_slice(b"TLS 1.3, server CertificateVerify\0");
        message.extend(vec![7; hash_bytes]);
        message
    }

    #[test]
    fn only_what_a_server_signs_in_a_handshake_is_signed() {
        assert!(is_of_a_handshake(&of_tls_1_3(32)));
        assert!(is_of_a_handshake(&of_tls_1_3(48)));
        assert!(!is_of_a_handshake(&of_tls_1_3(33)));
        let mut old = vec![9; 64];
        old.extend([3, 0, 29, 32]);
        old.extend([1; 32]);
        assert!(is_of_a_handshake(&old));
        old.push(0);
        assert!(!is_of_a_handshake(&old));
        // The beginning of a certificate request, and nothing.
        assert!(!is_of_a_handshake(&[0x30; 200]));
        assert!(!is_of_a_handshake(&[]));
    }

    #[test]
    fn a_signature_is_asked_for_and_an_end_is_seen() {
        let (ours, theirs) = pair().unwrap();
        let answering = std::thread::spawn(move || {
            answer(&ours, |request| {
                (request.scheme == 0x0403).then(|| vec![request.key.0[0]; 512])
            })
        });
        let mut asking = Asking::new(theirs);
        let key = SigningKeyId([5; 32]);
        let message = of_tls_1_3(32);
        assert_eq!(asking.sign(key, 0x0403, &message).unwrap(), vec![5; 512]);
        assert!(matches!(
            asking.sign(key, 0x0804, &message),
            Err(SignError::Refused)
        ));
        assert!(matches!(
            asking.sign(key, 0x0403, b"anything"),
            Err(SignError::Refused)
        ));
        drop(asking);
        answering.join().unwrap().unwrap();
    }

    #[test]
    fn an_answer_that_came_too_late_is_not_the_next_ones() {
        let (ours, theirs) = pair().unwrap();
        put(
            &ours,
            &SignReply {
                number: 0,
                signature: Some(vec![1]),
            },
        )
        .unwrap();
        put(
            &ours,
            &SignReply {
                number: 1,
                signature: Some(vec![2]),
            },
        )
        .unwrap();
        let mut asking = Asking::new(theirs);
        let signature = asking.sign(SigningKeyId([0; 32]), 1, b"x").unwrap();
        assert_eq!(signature, [2]);
        drop(ours);
        assert!(matches!(
            asking.sign(SigningKeyId([0; 32]), 1, b"x"),
            Err(SignError::Io(_))
        ));
    }
}
