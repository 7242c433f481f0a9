//! Which version of HTTP a client speaks on a plain socket: HTTP/2 begins with words that no request of HTTP/1 begins
//! with (RFC 9113 §3.4).

use std::io;

use bytes::Bytes;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

/// What a client that knows that HTTP/2 is spoken here says first.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a client has begun with.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Beginning {
    /// Whether it is HTTP/2.
    pub(super) http2: bool,
    /// What was read to find out: it belongs to what follows.
    pub(super) read: Bytes,
}

/// Finds out what a client speaks; `None` if it closes before it says anything.
///
/// Nothing is read, and nothing kept, before something is there; nothing is read at all, unless the first bytes came in
/// pieces.
///
/// # Errors
/// What the socket says.
///
/// # Cancel safety
/// What was read is lost: the connection is closed then.
pub(super) async fn beginning(stream: &mut TcpStream) -> io::Result<Option<Beginning>> {
    let mut first = [0; PREFACE.len()];
    // (Looked at: a socket is called readable at first, whether it is or not.)
    let mut count = stream.peek(&mut first).await?;
    let mut read = 0;
    while is_part(&first, count) {
        let (_, rest) = first.split_at_mut_checked(read).unwrap_or_default();
        match stream.read(rest).await? {
            0 if read == 0 => return Ok(None),
            0 => break,
            more => read += more,
        }
        count = read;
    }
    Ok((count > 0).then(|| Beginning {
        http2: first == *PREFACE,
        read: Bytes::copy_from_slice(first.get(..read).unwrap_or_default()),
    }))
}

/// Whether these may become the preface.
fn is_part(first: &[u8; PREFACE.len()], count: usize) -> bool {
    (1..PREFACE.len()).contains(&count) && first.get(..count) == PREFACE.get(..count)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::*;

    /// What comes of these pieces, sent one by one, and what can be read afterwards.
    async fn of(pieces: &[&[u8]]) -> (Option<Beginning>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        let pieces: Vec<_> = pieces.iter().map(|piece| piece.to_vec()).collect();
        let sending = async move {
            for piece in pieces {
                client.write_all(&piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            client.shutdown().await.unwrap();
            client
        };
        let looking = async {
            let found = beginning(&mut server).await.unwrap();
            let mut rest = Vec::new();
            server.read_to_end(&mut rest).await.unwrap();
            (found, rest)
        };
        let (found, _client) = tokio::join!(looking, sending);
        found
    }

    #[tokio::test]
    async fn whatever_is_read_belongs_to_what_follows() {
        let whole = [PREFACE, b"rest".as_slice()].concat();
        for (pieces, http2) in [
            (vec![whole.as_slice()], true),
            (vec![&whole[..1], &whole[1..5], &whole[5..]], true),
            (vec![b"GET / HTTP/1.1\r\n".as_slice()], false),
            (vec![b"PUT / HTTP/1.1\r\n".as_slice()], false),
            (vec![b"P".as_slice(), b"R", b"OPFIND / HTTP/1.1"], false),
            (vec![b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r".as_slice()], false),
        ] {
            let (found, rest) = of(&pieces).await;
            let found = found.unwrap();
            assert_eq!(found.http2, http2, "{pieces:?}");
            assert_eq!([&*found.read, &rest].concat(), pieces.concat());
        }
        assert_eq!(of(&[]).await.0, None);
    }
}
