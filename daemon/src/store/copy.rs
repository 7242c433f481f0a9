//! All that is stored, in memory, on its way to another store.
//!
//! Takes what a store holds or an archive brings; gives it entry by entry, with what is sealed in it sealed otherwise, and
//! puts it into a new store. Promises that revisions stay as they were, and that the new store's go on where none of the
//! old one's can be met.

use std::collections::BTreeSet;
use std::path::Path;

use super::contents::{Contents, Snapshot, entry_bytes};
use super::error::StoreError;
use super::export::Export;
use super::key::Key;
use super::record::{
    CertificateRecord, Revised, SCHEMA_VERSION, Stored, VariableRecord, seal, set_revision,
};
use super::recover::EXPORT_DIR;
use crate::durable::create_private_dir;

/// The new store's revisions begin at the next multiple of this: changes that the old node made after the copy have
/// revisions too, and a client that holds one of those must not be told that it matches something here.
const REVISIONS_APART: u64 = 1_000_000;

/// All that a store holds, as of one transaction.
#[derive(Debug, Clone)]
pub struct StoreCopy {
    contents: Contents,
    /// The same, read; without the audit log.
    pub snapshot: Snapshot,
}

/// Where something sealed lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SealedPlace {
    /// The private key of a certificate.
    Certificate {
        /// The tenant that has it.
        tenant: String,
        /// Its name.
        certificate: String,
    },
    /// The value of a secret variable.
    Variable {
        /// The tenant that has it.
        tenant: String,
        /// Its id.
        variable: String,
    },
}

impl StoreCopy {
    pub(super) fn of(contents: Contents) -> Result<Self, StoreError> {
        let snapshot = Snapshot::read(&contents)?;
        Ok(Self { contents, snapshot })
    }

    /// Each entry, in order of key.
    pub fn entries(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let entries = self.contents.0.iter();
        entries.map(|(key, value)| (key.as_slice(), value.as_slice()))
    }

    /// The digests of the components that versions stand on, each once.
    #[must_use]
    pub fn component_digests(&self) -> BTreeSet<&str> {
        let modules = self.snapshot.modules.iter();
        modules
            .flat_map(|module| &module.record.versions)
            .map(|version| version.digest.as_str())
            .collect()
    }

    /// Puts something else in the place of everything that is sealed.
    ///
    /// # Errors
    /// [`StoreError::Record`].
    pub fn reseal(
        &mut self,
        mut sealed: impl FnMut(&SealedPlace, &[u8]) -> Vec<u8>,
    ) -> Result<(), StoreError> {
        for certificate in &self.snapshot.certificates {
            let Revised { revision, record } = certificate;
            let place = SealedPlace::Certificate {
                tenant: record.tenant.clone(),
                certificate: record.certificate.clone(),
            };
            let sealed_key = sealed(&place, &record.sealed_key);
            let record = CertificateRecord {
                sealed_key,
                ..record.clone()
            };
            put(&mut self.contents, &record, *revision)?;
        }
        for variable in &self.snapshot.variables {
            let Revised { revision, record } = variable;
            if !record.secret {
                continue;
            }
            let place = SealedPlace::Variable {
                tenant: record.tenant.clone(),
                variable: record.variable.clone(),
            };
            let value = sealed(&place, &record.value);
            let record = VariableRecord {
                value,
                ..record.clone()
            };
            put(&mut self.contents, &record, *revision)?;
        }
        self.snapshot = Snapshot::read(&self.contents)?;
        Ok(())
    }

    /// Makes this the contents of the store that is opened in `dir` next; there must be none yet.
    ///
    /// # Errors
    /// [`StoreError::Io`]; what was written is to be removed then.
    pub fn put_into(mut self, dir: &Path) -> Result<(), StoreError> {
        let export = dir.join(EXPORT_DIR);
        create_private_dir(&export).map_err(super::io_error("create", &export))?;
        let mut node = self.contents.node()?;
        node.schema = SCHEMA_VERSION;
        node.seq = (node.seq / REVISIONS_APART + 1) * REVISIONS_APART;
        put(&mut self.contents, &node, node.seq)?;
        // The database is made of it when the store is opened.
        drop(Export::begin(&export, node.seq, &self.contents)?);
        Ok(())
    }
}

/// Entries on their way in from an archive.
pub struct IncomingEntries {
    contents: Contents,
    bytes: u64,
    bytes_max: u64,
}

impl IncomingEntries {
    /// Takes entries of at most `bytes_max` bytes together.
    #[must_use]
    pub fn new(bytes_max: u64) -> Self {
        Self {
            contents: Contents::default(),
            bytes: 0,
            bytes_max,
        }
    }

    /// Takes one.
    ///
    /// # Errors
    /// [`StoreError::Full`].
    pub fn push(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<(), StoreError> {
        self.bytes += entry_bytes(key.len(), value.len());
        let (bytes, bytes_max) = (self.bytes, self.bytes_max);
        if bytes > bytes_max {
            return Err(StoreError::Full { bytes, bytes_max });
        }
        self.contents.0.insert(key, value);
        Ok(())
    }

    /// What they come to.
    ///
    /// # Errors
    /// [`StoreError::Schema`], [`StoreError::Record`], [`StoreError::Key`] where they are of a build that knows more.
    pub fn finish(self) -> Result<StoreCopy, StoreError> {
        StoreCopy::of(self.contents)
    }
}

fn put<T: Stored>(contents: &mut Contents, record: &T, revision: u64) -> Result<(), StoreError> {
    let mut sealed = seal(record)?;
    set_revision(&mut sealed, revision);
    let key: Key = record.key();
    contents.0.insert(key.encode(), sealed);
    Ok(())
}
