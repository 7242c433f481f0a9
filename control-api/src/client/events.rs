//! Server-sent events, as far as the log stream uses them.

use reqwest::Response;

use super::{Client, ClientError};
use crate::view::LogLine;

/// Longest event that is read: above the longest log line the node may be configured to keep, escaped.
const EVENT_BYTES_MAX: usize = 1024 * 1024;

/// A tenant's log lines as they come.
#[derive(Debug)]
pub struct LogFollower {
    client: Client,
    answer: Response,
    buffer: Vec<u8>,
}

impl LogFollower {
    pub(super) fn new(client: Client, answer: Response) -> Self {
        Self {
            client,
            answer,
            buffer: Vec::new(),
        }
    }

    /// The next line; `None` once the node ends the stream.
    ///
    /// # Errors
    /// [`ClientError`] where the connection breaks or the stream is none of a node's.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing: what was read stays in the buffer.
    pub async fn next(&mut self) -> Result<Option<LogLine>, ClientError> {
        loop {
            while let Some(event) = take_event(&mut self.buffer) {
                if let Some(data) = data_of(&event) {
                    let line = serde_json::from_str(&data).map_err(|error| {
                        self.client
                            .unexpected(self.answer.status(), &error.to_string())
                    })?;
                    return Ok(Some(line));
                }
            }
            if self.buffer.len() > EVENT_BYTES_MAX {
                let why = format!("an event is longer than {EVENT_BYTES_MAX} bytes");
                return Err(self.client.unexpected(self.answer.status(), &why));
            }
            match self.answer.chunk().await {
                Ok(Some(chunk)) => self.buffer.extend_from_slice(&chunk),
                Ok(None) => return Ok(None),
                Err(error) => return Err(self.client.unreachable(error)),
            }
        }
    }
}

/// Takes one event, up to and with its empty line, from the front of the buffer.
fn take_event(buffer: &mut Vec<u8>) -> Option<String> {
    let end = buffer.windows(2).position(|two| two == b"\n\n")?;
    let event: Vec<u8> = buffer.drain(..end + 2).collect();
    Some(String::from_utf8_lossy(&event).into_owned())
}

/// Its data lines, joined; `None` for comments.
fn data_of(event: &str) -> Option<String> {
    let lines: Vec<&str> = event
        .lines()
        .filter_map(|line| line.strip_prefix("data:"))
        .map(|data| data.strip_prefix(' ').unwrap_or(data))
        .collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_cut_at_empty_lines_and_comments_skipped() {
        let mut buffer = b"id: 1\ndata: {\"a\":1}\n\n:\n\ndata: x\ndata: y\n\ndata: half".to_vec();
        let events: Vec<_> = std::iter::from_fn(|| take_event(&mut buffer)).collect();
        let data: Vec<_> = events.iter().map(|event| data_of(event)).collect();
        assert_eq!(
            data,
            [Some("{\"a\":1}".to_owned()), None, Some("x\ny".to_owned())]
        );
        assert_eq!(buffer, b"data: half");
    }
}
