//! Reading an archive, piece by piece.

use std::io::{ErrorKind, Read};

use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::hmac;
use edge_config::Digest;

use super::{
    ArchiveError, Entry, FORMAT, Header, MAGIC, PIECE_BYTES_MAX, Pair, PassphraseKeys, Summary,
    kind,
};
use crate::view::SecretText;

const DIGEST_BYTES: usize = 32;

/// Reads an archive. What it gives is only to be believed once [`ArchiveReader::next_entry`] has given nothing more: until then
/// it may turn out to be cut off or altered.
pub struct ArchiveReader<R> {
    input: R,
    context: Context,
    at: u64,
    header: Header,
    keys: Option<PassphraseKeys>,
    body: Option<Body>,
    seen: Summary,
    summary: Option<Summary>,
}

/// Something of which parts are still to come.
struct Body {
    left_bytes: u64,
    /// A component's digest, and that of the parts so far; a database has none.
    digest: Option<(Digest, Context)>,
}

impl<R: Read> ArchiveReader<R> {
    /// Reads the archive's beginning.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub fn open(input: R) -> Result<Self, ArchiveError> {
        let mut reader = Self {
            input,
            context: Context::new(&SHA256),
            at: 0,
            header: Header {
                littoral: String::new(),
                node: String::new(),
                created_at: 0,
                revision: 0,
                sealing: None,
            },
            keys: None,
            body: None,
            seen: Summary::default(),
            summary: None,
        };
        let mut magic = [0; MAGIC.len()];
        match reader.fill(&mut magic) {
            Ok(()) if magic == *MAGIC => {}
            Ok(()) | Err(ArchiveError::CutOff { .. }) => return Err(ArchiveError::NotAnArchive),
            Err(error) => return Err(error),
        }
        let mut format = [0; 4];
        reader.fill(&mut format)?;
        match u32::from_le_bytes(format) {
            FORMAT => {}
            found if found > FORMAT => return Err(ArchiveError::Newer { found }),
            _ => return Err(reader.altered("there never was such a format")),
        }
        let (kind, payload) = reader.piece()?;
        if kind != kind::HEADER {
            return Err(reader.altered("it has no header"));
        }
        reader.header = serde_json::from_slice(&payload)
            .map_err(|error| reader.altered(&format!("its header does not read: {error}")))?;
        Ok(reader)
    }

    /// Where the archive comes from.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Has the archive's secrets opened, and what was altered on purpose found, with a passphrase.
    ///
    /// # Errors
    /// [`ArchiveError::NotSealed`], and those of [`PassphraseKeys::open`].
    pub fn unlock(&mut self, passphrase: &SecretText) -> Result<&PassphraseKeys, ArchiveError> {
        let sealing = self.header.sealing.as_ref();
        let sealing = sealing.ok_or(ArchiveError::NotSealed)?;
        let keys = PassphraseKeys::open(passphrase, sealing)?;
        Ok(self.keys.insert(keys))
    }

    /// What comes next; nothing once the archive has ended and is whole.
    ///
    /// # Errors
    /// [`ArchiveError`]; the reader is of no use then.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, ArchiveError> {
        if self.summary.is_some() {
            return Ok(None);
        }
        if self.body.as_ref().is_some_and(|body| body.left_bytes == 0) {
            return self.body_end().map(Some);
        }
        let (kind, payload) = self.piece()?;
        if self.body.is_some() && !matches!(kind, kind::PART | kind::BROKEN_OFF) {
            return Err(self.altered("a component or a database lacks its end"));
        }
        match kind {
            kind::RECORDS => {
                let parts = self.parts::<2>(&payload)?;
                self.seen.records += parts.len() as u64;
                let records = parts.into_iter().map(|[key, value]| (key, value));
                Ok(Some(Entry::Records(records.collect())))
            }
            kind::PAIRS => {
                let parts = self.parts::<4>(&payload)?;
                self.seen.pairs += parts.len() as u64;
                let pairs = parts.into_iter().map(|[tenant, store, key, value]| {
                    Ok(Pair {
                        tenant: self.text(tenant)?,
                        store: self.text(store)?,
                        key: self.text(key)?,
                        value,
                    })
                });
                Ok(Some(Entry::Pairs(pairs.collect::<Result<_, _>>()?)))
            }
            kind::NODE_KEY => match self.parts::<2>(&payload)?.as_mut_slice() {
                [[name, sealed]] => Ok(Some(Entry::NodeKey {
                    name: self.text(std::mem::take(name))?,
                    sealed: std::mem::take(sealed),
                })),
                _ => Err(self.altered("a key of the node is none")),
            },
            kind::COMPONENT => self.component_begin(&payload).map(Some),
            kind::DATABASE => match self.parts::<4>(&payload)?.as_mut_slice() {
                [parts] => self.database_begin(parts).map(Some),
                _ => Err(self.altered("a database's beginning is none")),
            },
            kind::PART => self.part(payload).map(Some),
            kind::SUMMARY => self.end(&payload).map(|()| None),
            kind::BROKEN_OFF => Err(ArchiveError::BrokenOff {
                why: String::from_utf8_lossy(&payload).into_owned(),
            }),
            _ => Err(self.altered("a piece is of no kind")),
        }
    }

    /// What the archive holds; nothing before its end.
    #[must_use]
    pub fn summary(&self) -> Option<&Summary> {
        self.summary.as_ref()
    }

    /// Reads all of an archive, to see that it is whole.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub fn verify(mut self) -> Result<(Header, Summary), ArchiveError> {
        while self.next_entry()?.is_some() {}
        let summary = self.summary.unwrap_or_default();
        Ok((self.header, summary))
    }

    fn component_begin(&mut self, payload: &[u8]) -> Result<Entry, ArchiveError> {
        let (digest, bytes) = payload
            .split_first_chunk::<DIGEST_BYTES>()
            .and_then(|(digest, rest)| Some((*digest, <[u8; 8]>::try_from(rest).ok()?)))
            .ok_or_else(|| self.altered("a component's beginning is none"))?;
        let (digest, bytes) = (Digest::from_bytes(digest), u64::from_le_bytes(bytes));
        self.seen.components += 1;
        self.seen.component_bytes = self.seen.component_bytes.saturating_add(bytes);
        self.body = Some(Body {
            left_bytes: bytes,
            digest: Some((digest, Context::new(&SHA256))),
        });
        Ok(Entry::Component { digest, bytes })
    }

    fn database_begin(&mut self, parts: &mut [Vec<u8>; 4]) -> Result<Entry, ArchiveError> {
        let [tenant, database, length, is_log] = parts.each_mut().map(std::mem::take);
        let log = match is_log.as_slice() {
            [0] => false,
            [1] => true,
            _ => return Err(self.altered("a database's file is of no kind")),
        };
        let length = <[u8; 8]>::try_from(length);
        let bytes = length.map_err(|_| self.altered("a database has no length"))?;
        let bytes = u64::from_le_bytes(bytes);
        self.seen.databases += u64::from(!log);
        self.seen.database_bytes = self.seen.database_bytes.saturating_add(bytes);
        self.body = Some(Body {
            left_bytes: bytes,
            digest: None,
        });
        Ok(Entry::Database {
            tenant: self.text(tenant)?,
            database: self.text(database)?,
            log,
            bytes,
        })
    }

    fn part(&mut self, payload: Vec<u8>) -> Result<Entry, ArchiveError> {
        let part_bytes = payload.len() as u64;
        match &mut self.body {
            Some(body) if part_bytes <= body.left_bytes => {
                body.left_bytes -= part_bytes;
                if let Some((_, context)) = &mut body.digest {
                    context.update(&payload);
                }
                Ok(Entry::Part(payload))
            }
            Some(_) => Err(self.altered("a component or a database is longer than it says")),
            None => Err(self.altered("a part belongs to no component")),
        }
    }

    fn body_end(&mut self) -> Result<Entry, ArchiveError> {
        let Some(body) = self.body.take() else {
            return Err(self.altered("a component ends that did not begin"));
        };
        let Some((digest, context)) = body.digest else {
            return Ok(Entry::DatabaseEnd);
        };
        if context.finish().as_ref() != digest.as_bytes() {
            return Err(self.altered(&format!("the component {digest} is another one")));
        }
        Ok(Entry::ComponentEnd)
    }

    fn end(&mut self, payload: &[u8]) -> Result<(), ArchiveError> {
        let summary: Summary = serde_json::from_slice(payload)
            .map_err(|error| self.altered(&format!("its summary does not read: {error}")))?;
        let computed = self.context.clone().finish();
        let mut digest = [0; DIGEST_BYTES];
        self.fill(&mut digest)?;
        if computed.as_ref() != digest {
            return Err(self.altered("its checksum is another"));
        }
        if self.header.sealing.is_some() {
            let mut tag = [0; DIGEST_BYTES];
            self.fill(&mut tag)?;
            let keys = self.keys.as_ref();
            if keys.is_some_and(|keys| hmac::verify(&keys.mac, &digest, &tag).is_err()) {
                return Err(self.altered("it was not ended by who has the passphrase"));
            }
        }
        let mut more = [0];
        if self.input.read(&mut more).map_err(ArchiveError::Io)? > 0 {
            return Err(self.altered("bytes follow its end"));
        }
        let counts = |summary: &Summary| {
            [
                summary.records,
                summary.pairs,
                summary.components,
                summary.component_bytes,
                summary.databases,
                summary.database_bytes,
            ]
        };
        if counts(&summary) != counts(&self.seen) {
            return Err(self.altered("it holds something else than its summary says"));
        }
        self.summary = Some(summary);
        Ok(())
    }

    fn piece(&mut self) -> Result<(u8, Vec<u8>), ArchiveError> {
        let mut head = [0; 5];
        self.fill(&mut head)?;
        let [kind, length @ ..] = head;
        let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
        if length > PIECE_BYTES_MAX {
            return Err(self.altered(&format!("a piece says it has {length} bytes")));
        }
        let mut payload = vec![0; length];
        self.fill(&mut payload)?;
        Ok((kind, payload))
    }

    /// Rows of `N` parts each, every part with its length before it.
    fn parts<const N: usize>(&self, payload: &[u8]) -> Result<Vec<[Vec<u8>; N]>, ArchiveError> {
        let mut rows = Vec::new();
        let mut rest = payload;
        while !rest.is_empty() {
            let mut row = [const { Vec::new() }; N];
            for place in &mut row {
                let part;
                (part, rest) = take(rest).ok_or_else(|| self.altered("a row is cut"))?;
                *place = part.to_vec();
            }
            rows.push(row);
        }
        Ok(rows)
    }

    fn text(&self, bytes: Vec<u8>) -> Result<String, ArchiveError> {
        String::from_utf8(bytes).map_err(|_| self.altered("a name is not UTF-8"))
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), ArchiveError> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.input.read(rest) {
                Ok(0) => {
                    let bytes = self.at + filled as u64;
                    return Err(ArchiveError::CutOff { bytes });
                }
                Ok(read) => filled += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(ArchiveError::Io(error)),
            }
        }
        self.at += filled as u64;
        self.context.update(buffer);
        Ok(())
    }

    fn altered(&self, what: &str) -> ArchiveError {
        ArchiveError::Altered {
            what: what.to_owned(),
            at: self.at,
        }
    }
}

fn take(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)
}
