//! Where an answer ends: as little of HTTP/1.1 as a load generator needs.

/// An answer on its way in.
#[derive(Debug, Default)]
pub(super) struct Arriving {
    read: Vec<u8>,
    status: u16,
    part: Part,
}

#[derive(Debug, Default, Clone, Copy)]
enum Part {
    #[default]
    Head,
    /// So many bytes are missing, and are looked at no further; then what follows.
    Bytes {
        missing: usize,
        chunked: bool,
    },
    ChunkSize,
    Trailers,
    End,
}

/// An answer that cannot be understood.
#[derive(Debug)]
pub(super) struct Garbled;

impl Arriving {
    /// Takes bytes that came; gives the status once the answer is whole.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<Option<u16>, Garbled> {
        self.read.extend_from_slice(bytes);
        let mut at = 0;
        while let Some(taken) = self.step(at)? {
            at += taken;
            if matches!(self.part, Part::End) {
                // Nothing more was asked for.
                let whole = at == self.read.len();
                self.read.clear();
                self.part = Part::Head;
                return if whole {
                    Ok(Some(self.status))
                } else {
                    Err(Garbled)
                };
            }
        }
        self.read.drain(..at);
        Ok(None)
    }

    /// One part further; gives how many bytes that took, nothing where more are needed.
    fn step(&mut self, at: usize) -> Result<Option<usize>, Garbled> {
        let bytes = &self.read[at..];
        match self.part {
            Part::Head => {
                let Some(length) = find(bytes, b"\r\n\r\n") else {
                    return Ok(None);
                };
                let head = std::str::from_utf8(&bytes[..length]).map_err(|_| Garbled)?;
                let status = head.get(9..12).and_then(|digits| digits.parse().ok());
                self.status = status.ok_or(Garbled)?;
                self.part = body(head);
                Ok(Some(length + 4))
            }
            Part::Bytes { missing, chunked } => {
                let taken = bytes.len().min(missing);
                let missing = missing - taken;
                self.part = match (missing, chunked) {
                    (0, true) => Part::ChunkSize,
                    (0, false) => Part::End,
                    _ => Part::Bytes { missing, chunked },
                };
                Ok((taken > 0 || missing == 0).then_some(taken))
            }
            Part::ChunkSize => {
                let Some(length) = find(bytes, b"\r\n") else {
                    return Ok(None);
                };
                let digits = std::str::from_utf8(&bytes[..length]).map_err(|_| Garbled)?;
                let size = usize::from_str_radix(digits, 16).map_err(|_| Garbled)?;
                self.part = match size {
                    0 => Part::Trailers,
                    size => Part::Bytes {
                        missing: size + 2,
                        chunked: true,
                    },
                };
                Ok(Some(length + 2))
            }
            Part::Trailers => {
                let Some(length) = find(bytes, b"\r\n") else {
                    return Ok(None);
                };
                if length == 0 {
                    self.part = Part::End;
                }
                Ok(Some(length + 2))
            }
            Part::End => Ok(None),
        }
    }
}

/// What follows a head.
fn body(head: &str) -> Part {
    for line in head.split("\r\n") {
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        if name.eq_ignore_ascii_case("transfer-encoding") {
            return Part::ChunkSize;
        }
        if name.eq_ignore_ascii_case("content-length")
            && let Ok(missing) = value.trim().parse()
        {
            return Part::Bytes {
                missing,
                chunked: false,
            };
        }
    }
    Part::End
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|some| some == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_where_its_framing_says_however_it_is_cut() {
        for text in [
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\na\r\n0123456789\r\n0\r\nt: 1\r\n\r\n",
            "HTTP/1.1 204 No Content\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        ] {
            let status = text[9..12].parse().unwrap();
            for cut in 0..text.len() {
                let mut arriving = Arriving::default();
                assert_eq!(arriving.take(&text.as_bytes()[..cut]).unwrap(), None);
                let end = arriving.take(&text.as_bytes()[cut..]).unwrap();
                assert_eq!(end, Some(status), "{text}");
            }
            let twice = format!("{text}{text}");
            assert!(Arriving::default().take(twice.as_bytes()).is_err());
        }
    }
}
