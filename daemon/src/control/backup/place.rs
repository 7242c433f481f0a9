//! Putting an archive into an empty data directory: all of it, or nothing.
//!
//! Everything is made in a folder of its own in the data directory, `restoring`, and moved to its place once the archive has
//! turned out to be whole. For as long as that folder is there, no node starts on the directory, and the same restore can
//! begin anew, whatever interrupted it.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use control_api::archive::{ArchiveError, ArchiveReader, Entry, Header, Summary};
use control_api::view::SecretText;
use edge_config::Config;
use serde::Serialize;

use super::databases::IncomingDatabases;
use super::{NODE_KEYS, archive_vault, described, names_in_archive};
use crate::artifact::cache::KeyError;
use crate::control::node::DISK_RESERVE_BYTES;
use crate::control::restore::{RestoreError, restore};
use crate::control::vault::Vault;
use crate::control::{tls, variables};
use crate::durable::{create_private_dir, sync_dir};
use crate::storage::{Filling, MovingError};
use crate::store::blobs::{BlobError, Blobs, IncomingBlob};
use crate::store::{IncomingEntries, SealedPlace, Store, StoreCopy, StoreError, StoreOptions};

/// Where everything is made.
const UNFINISHED_DIR: &str = "restoring";
/// What is made there and then moved; the store last, so that a directory with a store has everything.
const PARTS: [&str; 5] = ["components", "storage", "databases", "keys", "store"];
/// May be in a directory that is empty otherwise: an ext4 file system of its own has it.
const LOST_AND_FOUND: &str = "lost+found";

/// What was put onto this box.
#[derive(Debug, Serialize)]
pub struct RestoreReport {
    /// The node that the archive is of.
    pub node: String,
    /// When it was begun, in seconds since 1970-01-01 UTC.
    pub created_at: u64,
    /// What it held.
    #[serde(flatten)]
    pub holds: Summary,
}

/// Why an archive was not restored. The data directory is empty then, or can be restored into again.
#[derive(Debug, thiserror::Error)]
pub enum UnrestorableError {
    /// The archive.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The directory has something in it.
    #[error(
        "{} is not empty, it has `{found}`: an archive is restored into an empty data directory only; move what is there \
         away, or name another in `node.data_dir`",
        dir.display()
    )]
    NotEmpty {
        /// The data directory.
        dir: PathBuf,
        /// The first thing in it.
        found: String,
    },
    /// Another restore is under way there.
    #[error("another restore into {} is under way", dir.display())]
    UnderWay {
        /// The data directory.
        dir: PathBuf,
    },
    /// A file or directory.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The control state.
    #[error("the archive's control state cannot be used")]
    Store(#[from] StoreError),
    /// A record of it.
    #[error("the archive's control state cannot be used")]
    Record(#[from] RestoreError),
    /// A component.
    #[error("a component cannot be kept")]
    Component(#[from] BlobError),
    /// A pair.
    #[error(transparent)]
    Pairs(#[from] MovingError),
    /// An SQL database.
    #[error(
        "the archive has an SQL database {database:?} of a tenant {tenant:?}, and one of them is no name"
    )]
    Database {
        /// The tenant.
        tenant: String,
        /// The database.
        database: String,
    },
    /// A key of this node.
    #[error("a key of this node cannot be made")]
    Key(#[from] KeyError),
    /// A secret.
    #[error("{what} cannot be moved: {why}")]
    Secret {
        /// Which.
        what: String,
        /// Why.
        why: String,
    },
}

pub(super) fn failed<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> UnrestorableError + 'a {
    move |source| UnrestorableError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

/// Whether a restore into this directory did not come to its end.
#[must_use]
pub fn is_unfinished(data: &Path) -> bool {
    data.join(UNFINISHED_DIR).exists()
}

/// Puts an archive into the empty data directory of `config`.
///
/// Blocks on the disk, and opens and closes a store: on a runtime that has nothing else to do.
///
/// # Errors
/// [`UnrestorableError`]; nothing is left of it in the directory, or only what the next attempt removes.
pub async fn restore_node(
    config: &Config,
    archive: impl Read,
    passphrase: Option<&SecretText>,
) -> Result<RestoreReport, UnrestorableError> {
    let mut archive = ArchiveReader::open(archive)?;
    let vault = match (passphrase, &archive.header().sealing) {
        (None, Some(_)) => return Err(ArchiveError::PassphraseNeeded.into()),
        (None, None) => None,
        (Some(passphrase), _) => Some(archive_vault(archive.unlock(passphrase)?.cipher())),
    };
    let data = config.node.data_dir.as_path();
    create_private_dir(data).map_err(failed("create", data))?;
    let lock = File::open(data).map_err(failed("open", data))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(UnrestorableError::UnderWay {
                dir: data.to_owned(),
            });
        }
        Err(TryLockError::Error(error)) => return Err(failed("lock", data)(error)),
    }
    let place = Place { data };
    place.clear()?;
    let made = place.make(config, &mut archive, vault.as_ref()).await;
    let header: Header = archive.header().clone();
    match made {
        Ok(holds) => {
            place.move_in()?;
            Ok(RestoreReport {
                node: header.node,
                created_at: header.created_at,
                holds,
            })
        }
        Err(error) => {
            // What cannot be removed now is by the next attempt.
            if let Err(error) = place.clear() {
                tracing::warn!(%error, "what was restored half cannot be removed");
            }
            Err(error)
        }
    }
}

struct Place<'a> {
    data: &'a Path,
}

impl Place<'_> {
    fn unfinished(&self) -> PathBuf {
        self.data.join(UNFINISHED_DIR)
    }

    /// Removes what an attempt before left, and refuses a directory with anything else in it.
    fn clear(&self) -> Result<(), UnrestorableError> {
        let unfinished = self.unfinished();
        if unfinished.exists() {
            // The folder itself goes last: while it is there, all the rest is known to be of a restore.
            let parts = PARTS.iter().map(|part| self.data.join(part));
            for part in parts.filter(|part| part.exists()) {
                fs::remove_dir_all(&part).map_err(failed("remove", &part))?;
            }
            sync_dir(self.data).map_err(failed("sync", self.data))?;
            fs::remove_dir_all(&unfinished).map_err(failed("remove", &unfinished))?;
            sync_dir(self.data).map_err(failed("sync", self.data))?;
        }
        for entry in fs::read_dir(self.data).map_err(failed("list", self.data))? {
            let name = entry.map_err(failed("list", self.data))?.file_name();
            if name != LOST_AND_FOUND {
                return Err(UnrestorableError::NotEmpty {
                    dir: self.data.to_owned(),
                    found: name.to_string_lossy().escape_debug().to_string(),
                });
            }
        }
        Ok(())
    }

    /// Makes everything in the folder of its own.
    async fn make(
        &self,
        config: &Config,
        archive: &mut ArchiveReader<impl Read>,
        vault: Option<&Vault>,
    ) -> Result<Summary, UnrestorableError> {
        let unfinished = self.unfinished();
        let [components, storage, databases, keys, store] = PARTS.map(|part| unfinished.join(part));
        create_private_dir(&keys).map_err(failed("create", &keys))?;
        let options = StoreOptions {
            cache_mib: config.store.cache_mib,
            ..StoreOptions::at(&store)
        };
        let mut into = Into {
            records: IncomingEntries::new(options.contents_bytes_max),
            pairs: None,
            storage: &storage,
            databases: IncomingDatabases::into(databases),
            blobs: Blobs::open(&components, DISK_RESERVE_BYTES)?,
            incoming: None,
            keys: &keys,
            vault,
        };
        while let Some(entry) = archive.next_entry()? {
            into.take(entry)?;
        }
        let mut copy = into.finish()?;
        reseal(&mut copy, vault, &keys)?;
        // Every record is looked at as the node will at its start.
        restore(copy.snapshot.clone(), config.limits, |_| Vec::new())?;
        copy.put_into(&store)?;
        let opened = Store::open(options)?;
        opened.store.close().await;
        Ok(archive.summary().cloned().unwrap_or_default())
    }

    /// Moves everything to its place; the node may start from here on.
    fn move_in(&self) -> Result<(), UnrestorableError> {
        let unfinished = self.unfinished();
        sync_dir(&unfinished).map_err(failed("sync", &unfinished))?;
        for part in PARTS {
            let made = unfinished.join(part);
            // Nothing was kept by guests, for instance.
            if made.exists() {
                let place = self.data.join(part);
                fs::rename(&made, &place).map_err(failed("move into place", &made))?;
            }
        }
        sync_dir(self.data).map_err(failed("sync", self.data))?;
        fs::remove_dir(&unfinished).map_err(failed("remove", &unfinished))?;
        sync_dir(self.data).map_err(failed("sync", self.data))
    }
}

/// What takes an archive's entries.
struct Into<'a> {
    records: IncomingEntries,
    pairs: Option<Filling>,
    storage: &'a Path,
    databases: IncomingDatabases,
    blobs: Blobs,
    incoming: Option<(edge_config::Digest, IncomingBlob)>,
    keys: &'a Path,
    vault: Option<&'a Vault>,
}

impl Into<'_> {
    fn take(&mut self, entry: Entry) -> Result<(), UnrestorableError> {
        match entry {
            Entry::Records(records) => {
                for (key, value) in records {
                    self.records.push(key, value)?;
                }
            }
            Entry::Pairs(pairs) => {
                let filling = match &mut self.pairs {
                    Some(filling) => filling,
                    none => none.insert(Filling::begin(self.storage)?),
                };
                for pair in &pairs {
                    filling.put((&pair.tenant, &pair.store, &pair.key, &pair.value))?;
                }
            }
            Entry::NodeKey { name, sealed } => self.node_key(&name, &sealed)?,
            Entry::Component { digest, bytes } => {
                self.incoming = Some((digest, self.blobs.begin(bytes)?));
            }
            Entry::Database {
                tenant,
                database,
                log,
                bytes: _,
            } => self.databases.begin(&tenant, &database, log)?,
            Entry::DatabaseEnd => self.databases.end()?,
            Entry::Part(bytes) => {
                let is_databases = self.databases.write(&bytes)?;
                if let Some((_, incoming)) = &mut self.incoming
                    && !is_databases
                {
                    incoming.write(&bytes)?;
                }
            }
            Entry::ComponentEnd => {
                if let Some((digest, incoming)) = self.incoming.take() {
                    // No collection runs here.
                    drop(incoming.finish(&digest)?);
                }
            }
        }
        Ok(())
    }

    fn node_key(&self, name: &str, sealed: &[u8]) -> Result<(), UnrestorableError> {
        let refuse = |why: String| UnrestorableError::Secret {
            what: format!("the node's key {name:?}"),
            why,
        };
        if !NODE_KEYS.contains(&name) {
            return Err(refuse("this build knows none of that name".to_owned()));
        }
        let vault = self
            .vault
            .ok_or_else(|| refuse("it is not sealed".to_owned()))?;
        let opened = vault.open(&["node", name], sealed);
        let text = opened.map_err(|error| refuse(error.to_string()))?;
        let path = self.keys.join(name);
        File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| {
                file.write_all(&text)?;
                file.sync_all()
            })
            .map_err(failed("write", &path))?;
        control_api::keypair::PrivateKey::read(&path).map_err(|error| refuse(error.to_string()))?;
        Ok(())
    }

    fn finish(self) -> Result<StoreCopy, UnrestorableError> {
        if let Some(pairs) = self.pairs {
            pairs.finish()?;
        }
        Ok(self.records.finish()?)
    }
}

/// Seals under keys of this node, which are made here, what is sealed under the passphrase.
fn reseal(
    copy: &mut StoreCopy,
    vault: Option<&Vault>,
    keys: &Path,
) -> Result<(), UnrestorableError> {
    let (certificates, secrets) = (tls::vault(keys)?, variables::vault(keys)?);
    let Some(vault) = vault else {
        return Ok(());
    };
    let mut first_refusal = None;
    copy.reseal(|place, sealed| {
        if sealed.is_empty() {
            // It was left out.
            return Vec::new();
        }
        let (own, names) = match place {
            SealedPlace::Certificate {
                tenant,
                certificate,
            } => (&certificates, [tenant.as_str(), certificate.as_str()]),
            SealedPlace::Variable { tenant, variable } => {
                (&secrets, [tenant.as_str(), variable.as_str()])
            }
        };
        let opened = vault.open(&names_in_archive(place), sealed);
        let moved = opened
            .map_err(|error| error.to_string())
            .and_then(|secret| own.seal(&names, &secret).map_err(|error| error.to_string()));
        moved.unwrap_or_else(|why| {
            first_refusal.get_or_insert(UnrestorableError::Secret {
                what: described(place),
                why,
            });
            Vec::new()
        })
    })?;
    match first_refusal {
        Some(refusal) => Err(refusal),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(data: &Path) -> Vec<String> {
        let entries = fs::read_dir(data).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_an_attempt_moved_already_goes_with_it_and_nothing_else_does() {
        let data = tempfile::tempdir().unwrap();
        let place = Place { data: data.path() };
        place.clear().unwrap();
        fs::create_dir(data.path().join(LOST_AND_FOUND)).unwrap();
        place.clear().unwrap();
        // Killed while it moved: two parts are in their place, one is not.
        for dir in ["restoring/store", "components/ab", "keys"] {
            fs::create_dir_all(data.path().join(dir)).unwrap();
        }
        fs::write(data.path().join("components/ab/cd"), "a component").unwrap();
        assert!(is_unfinished(data.path()));
        place.clear().unwrap();
        assert_eq!(names(data.path()), [LOST_AND_FOUND]);
        assert!(!is_unfinished(data.path()));
        // The same without the folder of an attempt is somebody's.
        fs::create_dir(data.path().join("keys")).unwrap();
        let refused = place.clear().unwrap_err();
        assert!(refused.to_string().contains("it has `keys`"), "{refused}");
        assert_eq!(names(data.path()), ["keys", LOST_AND_FOUND]);
    }

    #[test]
    fn all_that_was_made_is_moved_and_the_mark_goes_last() {
        let data = tempfile::tempdir().unwrap();
        let place = Place { data: data.path() };
        for part in ["components", "keys", "store"] {
            fs::create_dir_all(place.unfinished().join(part)).unwrap();
        }
        place.move_in().unwrap();
        assert_eq!(names(data.path()), ["components", "keys", "store"]);
    }
}
