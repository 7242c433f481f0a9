//! What is spoken with Redis (RESP 2), as far as a guest can ask for it.
//!
//! Own, and not a library's: those that there are reserve what a server claims an array to have, or follow its nesting on
//! the stack, and the server is a stranger here. An answer is read flat, since that is what the interface gives a guest:
//! what is nested only adds to the number of values that are still to come.

use super::super::failure::Failure;
use super::super::wire::Wire;

/// Most bytes of a line: numbers, and the words of states and errors.
const LINE_BYTES_MAX: usize = 64 << 10;
/// What a value takes beside its bytes.
const VALUE_BYTES: usize = 48;
const NAME: &str = "Redis";

/// One of an answer's values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::host::databases) enum Value {
    Nil,
    Status(String),
    Int(i64),
    Bytes(Vec<u8>),
}

/// The server's own refusal, such as `WRONGTYPE …`: the connection is as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::host::databases) struct Refusal(pub(super) String);

/// A command as it is sent.
pub(super) fn command<'a>(parts: impl ExactSizeIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut sent = format!("*{}\r\n", parts.len()).into_bytes();
    for part in parts {
        sent.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
        sent.extend_from_slice(part);
        sent.extend_from_slice(b"\r\n");
    }
    sent
}

/// Reads one whole answer; of several refusals in it, the first counts.
///
/// # Errors
/// [`Failure`], after which nobody knows what comes next.
pub(super) async fn answer(wire: &mut Wire) -> Result<Result<Vec<Value>, Refusal>, Failure> {
    let (mut values, mut refusal) = (Vec::new(), None);
    let mut to_come: u64 = 1;
    while to_come > 0 {
        to_come -= 1;
        wire.count(VALUE_BYTES)?;
        let line = line(wire).await?;
        let (kind, rest) = line.split_at_checked(1).unwrap_or_default();
        let value = match kind {
            "+" => Value::Status(rest.to_owned()),
            "-" => {
                refusal.get_or_insert(Refusal(rest.to_owned()));
                continue;
            }
            ":" => Value::Int(number(rest)?),
            "$" => match length(rest)? {
                None => Value::Nil,
                Some(length) => Value::Bytes(bytes(wire, length).await?),
            },
            "*" => match length(rest)? {
                None => Value::Nil,
                Some(length) => {
                    to_come = to_come
                        .checked_add(length)
                        .ok_or_else(|| garbage("more values than there are numbers"))?;
                    continue;
                }
            },
            _ => return Err(garbage("no value begins like that")),
        };
        values.push(value);
    }
    if !wire.buffer.is_empty() {
        return Err(garbage("more than was asked for"));
    }
    Ok(refusal.map_or(Ok(values), Err))
}

/// A line without its end.
async fn line(wire: &mut Wire) -> Result<String, Failure> {
    let mut looked_at = 0;
    loop {
        let unseen = wire.buffer.get(looked_at..).unwrap_or_default();
        if let Some(at) = unseen.windows(2).position(|two| two == b"\r\n") {
            let line = wire.buffer.split_to(looked_at + at + 2);
            let text = line.get(..looked_at + at).unwrap_or_default();
            let text = String::from_utf8(text.to_vec());
            return text.map_err(|_| garbage("a line that is not UTF-8"));
        }
        // The last byte may be half of an end.
        looked_at = wire.buffer.len().saturating_sub(1);
        if looked_at > LINE_BYTES_MAX {
            return Err(garbage("a line without an end"));
        }
        wire.read().await?;
    }
}

async fn bytes(wire: &mut Wire, length: u64) -> Result<Vec<u8>, Failure> {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let whole = length.saturating_add(2);
    wire.fill(whole).await?;
    let mut taken = wire.buffer.split_to(whole);
    if *taken.split_off(length) != *b"\r\n" {
        return Err(garbage("a value that goes on behind its end"));
    }
    Ok(taken.to_vec())
}

/// A length; -1 stands for nothing.
fn length(text: &str) -> Result<Option<u64>, Failure> {
    match number(text)? {
        -1 => Ok(None),
        number => u64::try_from(number)
            .map(Some)
            .map_err(|_| garbage("a negative length")),
    }
}

fn number(text: &str) -> Result<i64, Failure> {
    text.parse().map_err(|_| garbage("a number that is none"))
}

fn garbage(why: &str) -> Failure {
    Failure::Garbage(NAME, why.to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::AsyncWriteExt as _;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// What an answer with these bytes is, of which so many may come; the server closes behind it.
    async fn read(sent: &[u8], most: u64) -> Result<Result<Vec<Value>, Refusal>, Failure> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stream, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (mut server, _) = accepted.unwrap();
        let mut wire = Wire::new(stream.unwrap(), Arc::default());
        wire.expect(most);
        server.write_all(sent).await.unwrap();
        drop(server);
        answer(&mut wire).await
    }

    #[tokio::test]
    async fn an_answer_is_read_flat() {
        let bytes = |text: &str| Value::Bytes(text.into());
        for (sent, expected) in [
            ("+OK\r\n", Ok(vec![Value::Status("OK".to_owned())])),
            (":-7\r\n", Ok(vec![Value::Int(-7)])),
            ("$-1\r\n", Ok(vec![Value::Nil])),
            ("*-1\r\n", Ok(vec![Value::Nil])),
            ("$4\r\na\r\nb\r\n", Ok(vec![bytes("a\r\nb")])),
            ("*0\r\n", Ok(vec![])),
            (
                "*3\r\n$1\r\na\r\n*2\r\n:1\r\n*1\r\n$0\r\n\r\n$-1\r\n",
                Ok(vec![bytes("a"), Value::Int(1), bytes(""), Value::Nil]),
            ),
            ("-ERR no\r\n", Err(Refusal("ERR no".to_owned()))),
            (
                "*3\r\n+OK\r\n-WRONGTYPE one\r\n-ERR two\r\n",
                Err(Refusal("WRONGTYPE one".to_owned())),
            ),
        ] {
            assert_eq!(
                read(sent.as_bytes(), 10_000).await.unwrap(),
                expected,
                "{sent:?}"
            );
        }
    }

    #[tokio::test]
    async fn garbage_is_called_that_and_nothing_is_reserved_for_what_is_claimed() {
        for sent in [
            "HTTP/1.1 400 Bad Request\r\n\r\n",
            ":1x\r\n",
            "$-2\r\n",
            "$1\r\nab\r\n",
            "+OK\r\n+OK\r\n",
            "\r\n",
            "*9223372036854775807\r\n*9223372036854775807\r\n*9223372036854775807\r\n",
        ] {
            let failure = read(sent.as_bytes(), 10_000).await.unwrap_err();
            assert!(
                matches!(failure, Failure::Garbage(..)),
                "{sent:?}: {failure}"
            );
        }
        let endless = vec![b'+'; 2 * LINE_BYTES_MAX];
        let failure = read(&endless, 1 << 20).await.unwrap_err();
        assert!(matches!(failure, Failure::Garbage(..)), "{failure}");
        let nested = b"*1\r\n".repeat(100_000);
        for (sent, what) in [
            (&b"$9223372036854775807\r\nab"[..], "a length"),
            (b"$10001\r\nab", "a length just above"),
            (&nested, "nesting"),
            (&b"$0\r\n\r\n".repeat(1000), "many small ones"),
        ] {
            let mut sent = sent.to_vec();
            if what == "many small ones" {
                sent.splice(0..0, *b"*1000\r\n");
            }
            let failure = read(&sent, 10_000).await.unwrap_err();
            assert!(
                matches!(failure, Failure::ReceivedTooLarge(10_000)),
                "{what}: {failure}"
            );
        }
        for cut in ["", "$5\r\nab", "*2\r\n:1\r\n"] {
            let failure = read(cut.as_bytes(), 10_000).await.unwrap_err();
            assert!(
                matches!(failure, Failure::Outbound(_)),
                "{cut:?}: {failure}"
            );
        }
    }

    #[test]
    fn a_command_is_written_by_length() {
        let parts = [&b"SET"[..], b"a\r\n", b""];
        assert_eq!(
            command(parts.into_iter()),
            b"*3\r\n$3\r\nSET\r\n$3\r\na\r\n\r\n$0\r\n\r\n"
        );
    }
}
