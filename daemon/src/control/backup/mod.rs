//! Backups: the whole node on its way out, and onto another box.
//!
//! Takes the store, the components and what guests keep as they are at one moment, while the node serves; gives an archive
//! ([`control_api::archive`]), a piece at a time. Promises about that moment:
//!
//! - The control state and its audit log are as of one change.
//! - What guests keep is as of one commit of all of it; an SQL database is as of one commit of its own, not before.
//! - No change of the control state lies between the two, and no component that it stands on goes before it is written.
//!
//! Secrets leave this node only sealed under a passphrase. What follows from the rest is not in the archive: artifacts, which
//! are of this CPU; logs; figures; the configuration, which is the operator's.

mod databases;
mod place;
mod sink;

use std::io::Read as _;
use std::sync::Arc;

use aws_lc_rs::aead::RandomizedNonceKey;
use control_api::archive::{
    ArchiveError, ArchiveWriter, Header, PART_BYTES, Pair, PassphraseKeys, Summary,
};
use control_api::error::PlaneError;
use control_api::plane::{BackupStream, Caller};
use control_api::view::BackupWrite;
use edge_config::Digest;
use tokio::sync::OwnedSemaphorePermit;

pub use place::{RestoreReport, UnrestorableError, is_unfinished, restore_node};

use super::change::store_error;
use super::vault::Vault;
use super::{Control, blocking, internal, receipts};
use crate::link::services::Fault;
use crate::logging::chain;
use crate::storage::{MovingError, PairParts, Pinned};
use crate::store::blobs::BlobLease;
use crate::store::{AuditRecord, SealedPlace, StoreCopy, Transaction};
use sink::Sink;

/// Backups that are taken at once.
pub(super) const BACKUPS_AT_ONCE: usize = 1;
/// When it is worth asking again, in seconds.
const RETRY_AFTER_S: u64 = 30;
/// The node's own keys that go along, in its folder of keys: what signs admin tokens, and receipts.
const NODE_KEYS: [&str; 2] = ["admin.key", receipts::KEY_FILE];
/// Larger, it is no key.
const NODE_KEY_BYTES_MAX: u64 = 16 << 10;

/// All that goes into an archive, held as it is.
struct Moment {
    control: Arc<Control>,
    copy: StoreCopy,
    kept: Option<Pinned>,
    /// So that no component goes meanwhile.
    components: Vec<BlobLease>,
    _one_at_a_time: OwnedSemaphorePermit,
}

impl Control {
    /// Begins a backup. It goes on for as long as somebody reads it.
    ///
    /// # Errors
    /// [`PlaneError::BackupBusy`], [`PlaneError::InvalidValue`] for a passphrase that is none,
    /// [`PlaneError::StoreUnavailable`] where the node cannot read what it keeps.
    pub(super) async fn take_backup(
        &self,
        write: BackupWrite,
        caller: &Caller,
    ) -> Result<BackupStream, PlaneError> {
        let me = self.me().filter(|me| !me.is_draining());
        let control = me.ok_or(PlaneError::Draining)?;
        let one_at_a_time = Arc::clone(&self.backups).try_acquire_owned();
        let one_at_a_time = one_at_a_time.map_err(|_| PlaneError::BackupBusy {
            retry_after_s: RETRY_AFTER_S,
        })?;
        let keys = match write.passphrase {
            None => None,
            Some(passphrase) => Some(
                blocking(move || PassphraseKeys::make(&passphrase))
                    .await?
                    .map_err(refused)?,
            ),
        };
        self.note_backup(caller).await;
        // What tenants used until now goes along.
        self.write_usage().await;
        let moment = Arc::clone(&control).hold_still(one_at_a_time).await?;
        let (keys, sealing) = keys.unzip();
        let header = Header {
            littoral: env!("CARGO_PKG_VERSION").to_owned(),
            node: self.config().node.name.to_string(),
            created_at: self.now_s(),
            revision: moment.copy.snapshot.seq,
            sealing,
        };
        let (sink, stream) = Sink::new();
        self.tracker
            .spawn_blocking(move || match moment.write(sink, &header, keys) {
                Ok(Some(summary)) => tracing::info!(?summary, "a backup was taken"),
                // What broke it off is in the log, and in the archive.
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(error = chain(&error), "a backup was not taken to its end")
                }
            });
        Ok(stream)
    }

    /// That somebody takes everything along is for the audit log; a disk that is too full for that is no reason to give
    /// nobody a backup.
    async fn note_backup(&self, caller: &Caller) {
        tracing::info!(who = caller.who, request_id = caller.request_id, "backup");
        let entry = AuditRecord {
            at_s: self.now_s(),
            who: caller.who.clone(),
            action: "node.backup".to_owned(),
            resource: self.config().node.name.to_string(),
            request_id: caller.request_id.clone(),
            ..AuditRecord::default()
        };
        let entry = Transaction {
            audit: Some(entry),
            ..Transaction::default()
        };
        if let Err(error) = self.store().commit(entry).await {
            tracing::warn!(
                error = chain(&error),
                "the audit log has no entry of this backup"
            );
        }
    }

    /// Waits for the change under way and takes hold of everything before the next one.
    async fn hold_still(
        self: Arc<Self>,
        one_at_a_time: OwnedSemaphorePermit,
    ) -> Result<Moment, PlaneError> {
        let no_changes = self.changes().lock().await;
        let copy = self.store().copy().await.map_err(store_error)?;
        let digests = copy.component_digests();
        let leases = digests.into_iter().map(|digest| {
            let digest: Digest = digest.parse().map_err(|error| internal(&error))?;
            Ok(self.blobs.lease(digest))
        });
        let components = leases.collect::<Result<_, PlaneError>>()?;
        let me = Arc::clone(&self);
        let kept = blocking(move || me.storage.pin()).await?;
        let kept = kept.map_err(|fault| match fault {
            Fault::Unavailable(_) => PlaneError::StoreUnavailable,
            other => PlaneError::Internal {
                inside: format!("{other:?}"),
            },
        })?;
        drop(no_changes);
        Ok(Moment {
            control: self,
            copy,
            kept,
            components,
            _one_at_a_time: one_at_a_time,
        })
    }
}

fn refused(error: ArchiveError) -> PlaneError {
    match error {
        ArchiveError::PassphraseLength { .. } => PlaneError::InvalidValue {
            field: "passphrase".to_owned(),
            why: error.to_string(),
        },
        other => internal(&other),
    }
}

/// What breaks an archive off.
#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Moving(#[from] MovingError),
    #[error("a component cannot be read")]
    Component(#[source] std::io::Error),
    #[error("an SQL database cannot be read")]
    Database(#[source] std::io::Error),
}

type Archive = ArchiveWriter<Sink>;

impl Moment {
    /// Writes all of it; nothing where it was broken off, and its reader was told why.
    fn write(
        mut self,
        sink: Sink,
        header: &Header,
        keys: Option<PassphraseKeys>,
    ) -> Result<Option<Summary>, ArchiveError> {
        let vault = keys.as_ref().map(|keys| archive_vault(keys.cipher()));
        let mut summary = Summary::default();
        let resealed = self.reseal(vault.as_ref(), &mut summary);
        let mut archive = ArchiveWriter::begin(sink, header, keys)?;
        archive.summary = summary;
        let written = match resealed {
            Ok(()) => self.write_parts(&mut archive, vault.as_ref()),
            Err(error) => Err(ArchiveError::Io(std::io::Error::other(error)).into()),
        };
        match written {
            Ok(()) => archive.finish().map(Some),
            // Whoever reads is gone.
            Err(WriteError::Archive(error)) => Err(error),
            Err(error) => {
                tracing::error!(error = chain(&error), "a backup was broken off");
                archive.break_off(&chain(&error))?;
                Ok(None)
            }
        }
    }

    fn write_parts(
        mut self,
        archive: &mut Archive,
        vault: Option<&Vault>,
    ) -> Result<(), WriteError> {
        for (key, value) in self.copy.entries() {
            archive.record(key, value)?;
        }
        // Before the components: the sooner what guests keep is let go of, the less is written meanwhile.
        if let Some(kept) = self.kept.take() {
            self.write_pairs(kept, archive)?;
        }
        self.write_databases(archive)?;
        if let Some(vault) = vault {
            for name in NODE_KEYS {
                self.write_node_key(name, archive, vault)?;
            }
        }
        let mut buffer = vec![0; PART_BYTES];
        for component in &self.components {
            self.write_component(&component.digest(), archive, &mut buffer)?;
        }
        Ok(())
    }

    /// Those of tenants that are there: what one that is gone kept may not have been removed yet.
    fn write_pairs(&self, kept: Pinned, archive: &mut Archive) -> Result<(), WriteError> {
        let tenants = self.copy.snapshot.tenants.iter();
        let tenants: std::collections::HashSet<&str> = tenants
            .map(|tenant| tenant.record.tenant.as_str())
            .collect();
        kept.each(|(tenant, store, key, value): PairParts<'_>| {
            if tenants.contains(tenant) {
                archive.pair(&Pair {
                    tenant: tenant.to_owned(),
                    store: store.to_owned(),
                    key: key.to_owned(),
                    value: value.to_vec(),
                })?;
            }
            Ok(())
        })
    }

    fn write_node_key(
        &self,
        name: &str,
        archive: &mut Archive,
        vault: &Vault,
    ) -> Result<(), WriteError> {
        let path = self.control.config().node.data_dir.join("keys").join(name);
        let mut text = zeroize::Zeroizing::new(Vec::new());
        let read = std::fs::File::open(&path)
            .and_then(|file| file.take(NODE_KEY_BYTES_MAX).read_to_end(&mut text));
        match read {
            Ok(_) => match vault.seal(&["node", name], &text) {
                Ok(sealed) => Ok(archive.node_key(name, &sealed)?),
                Err(error) => Err(ArchiveError::Io(std::io::Error::other(error)).into()),
            },
            // A node whose operator brings keys has no admin key.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => {
                let what = format!("the node's own {name}: {error}");
                archive.summary.leave_out(what);
                Ok(())
            }
        }
    }

    fn write_component(
        &self,
        digest: &Digest,
        archive: &mut Archive,
        buffer: &mut [u8],
    ) -> Result<(), WriteError> {
        let opened = self.control.blobs.open_verified(digest);
        let mut file = match opened {
            Ok(file) => file,
            // One that decayed is no reason to have a backup of nothing.
            Err(error) => {
                let why = chain(&error);
                tracing::error!(error = why, %digest, "a component is missing in a backup");
                archive
                    .summary
                    .leave_out(format!("the component {digest}: {why}"));
                return Ok(());
            }
        };
        let bytes = file.metadata().map_err(WriteError::Component)?.len();
        archive.component(digest, bytes)?;
        let mut left = bytes;
        while left > 0 {
            let read = file.read(buffer).map_err(WriteError::Component)?;
            let part = buffer.get(..read).unwrap_or_default();
            if read == 0 || read as u64 > left {
                let why = "it changed while it was read";
                return Err(WriteError::Component(std::io::Error::other(why)));
            }
            archive.part(part)?;
            left -= read as u64;
        }
        Ok(())
    }

    /// Seals under the passphrase what is sealed under this node's keys; without a passphrase it is left out.
    fn reseal(
        &mut self,
        vault: Option<&Vault>,
        summary: &mut Summary,
    ) -> Result<(), crate::store::StoreError> {
        let control = &self.control;
        self.copy.reseal(|place, sealed| {
            let Some(vault) = vault else {
                summary.leave_out(format!("{}: no passphrase", described(place)));
                return Vec::new();
            };
            let (own, names) = match place {
                SealedPlace::Certificate {
                    tenant,
                    certificate,
                } => (&control.vault, [tenant.as_str(), certificate.as_str()]),
                SealedPlace::Variable { tenant, variable } => {
                    (&control.secrets, [tenant.as_str(), variable.as_str()])
                }
            };
            let opened = own.open(&names, sealed).map_err(|error| error.to_string());
            let moved = opened.and_then(|secret| {
                let sealed = vault.seal(&names_in_archive(place), &secret);
                sealed.map_err(|error| error.to_string())
            });
            match moved {
                Ok(sealed) => {
                    summary.secrets += 1;
                    sealed
                }
                Err(why) => {
                    summary.leave_out(format!("{}: {why}", described(place)));
                    Vec::new()
                }
            }
        })
    }
}

/// What secrets are sealed in, in an archive.
fn archive_vault(key: RandomizedNonceKey) -> Vault {
    Vault::under(key, "the archive's passphrase")
}

/// The names that a secret stands under in an archive: one key is for all kinds of them there.
fn names_in_archive(place: &SealedPlace) -> [&str; 3] {
    match place {
        SealedPlace::Certificate {
            tenant,
            certificate,
        } => ["certificate", tenant, certificate],
        SealedPlace::Variable { tenant, variable } => ["variable", tenant, variable],
    }
}

fn described(place: &SealedPlace) -> String {
    match place {
        SealedPlace::Certificate {
            tenant,
            certificate,
        } => format!("the private key of certificate `{certificate}` of tenant `{tenant}`"),
        SealedPlace::Variable { tenant, variable } => {
            format!("the secret variable `{variable}` of tenant `{tenant}`")
        }
    }
}
