//! Writing an archive, piece by piece.

use std::io::Write;

use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::hmac;
use edge_config::Digest;

use super::{
    ArchiveError, BATCH_BYTES, FORMAT, Header, MAGIC, PIECE_BYTES_MAX, Pair, PassphraseKeys,
    Summary, kind,
};

/// Writes an archive. One that is dropped before [`ArchiveWriter::finish`] is one that no reader takes for whole.
pub struct ArchiveWriter<W> {
    out: W,
    context: Context,
    keys: Option<PassphraseKeys>,
    batch: Vec<u8>,
    /// What `batch` holds.
    batch_kind: u8,
    /// What the archive holds so far.
    pub summary: Summary,
}

impl<W: Write> ArchiveWriter<W> {
    /// Begins an archive. `keys` are those that the header's sealing speaks of.
    ///
    /// # Errors
    /// [`ArchiveError::Io`].
    pub fn begin(
        out: W,
        header: &Header,
        keys: Option<PassphraseKeys>,
    ) -> Result<Self, ArchiveError> {
        let mut writer = Self {
            out,
            context: Context::new(&SHA256),
            keys,
            batch: Vec::new(),
            batch_kind: kind::RECORDS,
            summary: Summary::default(),
        };
        writer.bytes(MAGIC)?;
        writer.bytes(&FORMAT.to_le_bytes())?;
        writer.json(kind::HEADER, header)?;
        Ok(writer)
    }

    /// A record of the control state.
    ///
    /// # Errors
    /// [`ArchiveError::Io`], [`ArchiveError::PieceTooLarge`].
    pub fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(), ArchiveError> {
        self.summary.records += 1;
        self.batched(kind::RECORDS, &[key, value])
    }

    /// A pair of a key-value store.
    ///
    /// # Errors
    /// As for [`ArchiveWriter::record`].
    pub fn pair(&mut self, pair: &Pair) -> Result<(), ArchiveError> {
        self.summary.pairs += 1;
        let parts = [
            pair.tenant.as_bytes(),
            pair.store.as_bytes(),
            pair.key.as_bytes(),
            &pair.value,
        ];
        self.batched(kind::PAIRS, &parts)
    }

    /// A file with a key of the node's own, sealed.
    ///
    /// # Errors
    /// As for [`ArchiveWriter::record`].
    pub fn node_key(&mut self, name: &str, sealed: &[u8]) -> Result<(), ArchiveError> {
        self.summary.secrets += 1;
        self.batched(kind::NODE_KEY, &[name.as_bytes(), sealed])?;
        // A piece each.
        self.flush_batch()
    }

    /// Begins a component of so many bytes; [`ArchiveWriter::part`] must then be given all of them.
    ///
    /// # Errors
    /// [`ArchiveError::Io`].
    pub fn component(&mut self, digest: &Digest, bytes: u64) -> Result<(), ArchiveError> {
        self.summary.components += 1;
        self.summary.component_bytes += bytes;
        let mut payload = digest.as_bytes().to_vec();
        payload.extend_from_slice(&bytes.to_le_bytes());
        self.piece(kind::COMPONENT, &payload)
    }

    /// Begins a file of an SQL database, of so many bytes; [`ArchiveWriter::part`] must then be given all of them.
    ///
    /// # Errors
    /// [`ArchiveError::Io`].
    pub fn database(
        &mut self,
        tenant: &str,
        database: &str,
        log: bool,
        bytes: u64,
    ) -> Result<(), ArchiveError> {
        self.summary.databases += u64::from(!log);
        self.summary.database_bytes += bytes;
        let [length, is_log] = [&bytes.to_le_bytes()[..], &[u8::from(log)]];
        let parts = [tenant.as_bytes(), database.as_bytes(), length, is_log];
        self.batched(kind::DATABASE, &parts)?;
        // A piece each.
        self.flush_batch()
    }

    /// The next bytes of the component or the database.
    ///
    /// # Errors
    /// [`ArchiveError::Io`], [`ArchiveError::PieceTooLarge`].
    pub fn part(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        self.piece(kind::PART, bytes)
    }

    /// Ends the archive and gives what it holds.
    ///
    /// # Errors
    /// [`ArchiveError::Io`].
    pub fn finish(mut self) -> Result<Summary, ArchiveError> {
        let summary = self.summary.clone();
        self.json(kind::SUMMARY, &summary)?;
        let digest = self.context.clone().finish();
        self.bytes(digest.as_ref())?;
        if let Some(keys) = &self.keys {
            let tag = hmac::sign(&keys.mac, digest.as_ref());
            self.out.write_all(tag.as_ref()).map_err(ArchiveError::Io)?;
        }
        self.out.flush().map_err(ArchiveError::Io)?;
        Ok(summary)
    }

    /// Tells whoever reads why the rest is missing.
    ///
    /// # Errors
    /// [`ArchiveError::Io`].
    pub fn break_off(mut self, why: &str) -> Result<(), ArchiveError> {
        self.batch.clear();
        self.piece(kind::BROKEN_OFF, why.as_bytes())?;
        self.out.flush().map_err(ArchiveError::Io)
    }

    fn json<T: serde::Serialize>(&mut self, kind: u8, value: &T) -> Result<(), ArchiveError> {
        let json = serde_json::to_vec(value).map_err(|error| ArchiveError::Io(error.into()))?;
        self.piece(kind, &json)
    }

    fn batched(&mut self, kind: u8, parts: &[&[u8]]) -> Result<(), ArchiveError> {
        let bytes = parts.iter().map(|part| part.len() + 4).sum::<usize>();
        if self.batch_kind != kind || self.batch.len() + bytes > BATCH_BYTES {
            self.flush_batch()?;
            self.batch_kind = kind;
        }
        for part in parts {
            let length = u32::try_from(part.len())
                .map_err(|_| ArchiveError::PieceTooLarge { bytes: part.len() })?;
            self.batch.extend_from_slice(&length.to_le_bytes());
            self.batch.extend_from_slice(part);
        }
        Ok(())
    }

    fn flush_batch(&mut self) -> Result<(), ArchiveError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let batch = std::mem::take(&mut self.batch);
        self.framed(self.batch_kind, &batch)?;
        // Its memory again.
        self.batch = batch;
        self.batch.clear();
        Ok(())
    }

    fn piece(&mut self, kind: u8, payload: &[u8]) -> Result<(), ArchiveError> {
        self.flush_batch()?;
        self.framed(kind, payload)
    }

    fn framed(&mut self, kind: u8, payload: &[u8]) -> Result<(), ArchiveError> {
        let too_large = ArchiveError::PieceTooLarge {
            bytes: payload.len(),
        };
        if payload.len() > PIECE_BYTES_MAX {
            return Err(too_large);
        }
        let length = u32::try_from(payload.len()).map_err(|_| too_large)?;
        self.bytes(&[kind])?;
        self.bytes(&length.to_le_bytes())?;
        self.bytes(payload)
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        self.context.update(bytes);
        self.out.write_all(bytes).map_err(ArchiveError::Io)
    }
}
