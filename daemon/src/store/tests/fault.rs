//! Disks that fail: the store goes out of service at once, says why, and has everything it acknowledged afterwards.
//!
//! Here the journal and the handle that syncs the database fail. What sled does when its own writes fail is shown by
//! `tests/powerloss`, which fails them below it.

use std::io;

use super::*;
use crate::store::disk::DurableFile;

/// A disk that works for a while.
pub(super) struct FailingFile {
    pub(super) inner: Box<dyn DurableFile>,
    pub(super) syncs_left: u32,
    pub(super) bytes_left: usize,
}

impl DurableFile for FailingFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let fits = bytes.len().min(self.bytes_left);
        self.bytes_left -= fits;
        self.inner.append(&bytes[..fits])?;
        if fits < bytes.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let Some(left) = self.syncs_left.checked_sub(1) else {
            return Err(io::Error::other("the medium failed"));
        };
        self.syncs_left = left;
        self.inner.sync()
    }
}

/// Opens with the failing file in one of the two places, and commits until it fails; gives what was acknowledged.
fn commit_until_failure(
    dir: &Path,
    break_it: impl FnOnce(&mut Recovered),
    reason_has: &str,
) -> Seq {
    runtime().block_on(async {
        let lock = lock(dir).unwrap();
        let mut recovered = recover::recover(dir, 1 << 20).unwrap();
        break_it(&mut recovered);
        let store = Store::start(options(dir), lock, recovered).unwrap().store;
        let mut acknowledged = 0;
        let error = loop {
            match store
                .commit(put(tenant(&format!("t{acknowledged}"), 1)))
                .await
            {
                Ok(seq) => acknowledged = seq,
                Err(error) => break error,
            }
            assert!(acknowledged < 100, "it never failed");
        };
        assert!(matches!(error, StoreError::Undecided { .. }), "{error}");
        let Health::Failed { reason } = store.health() else {
            panic!("the store thinks it is well after: {error}");
        };
        assert!(reason.contains(reason_has), "{reason}");
        for _ in 0..3 {
            let refused = store.commit(Transaction::default()).await.unwrap_err();
            assert!(
                matches!(&refused, StoreError::Unavailable { reason: told } if *told == reason),
                "{refused}"
            );
        }
        assert_eq!(store.seq(), acknowledged);
        store.close().await;
        acknowledged
    })
}

fn has_everything(dir: &Path, acknowledged: Seq) -> Snapshot {
    let (snapshot, _) = reopen(dir);
    assert!(snapshot.seq >= acknowledged && snapshot.seq <= acknowledged + 1);
    assert_eq!(snapshot.tenants.len() as u64, snapshot.seq);
    assert_eq!(reopen(dir).1, Recovery::Intact);
    snapshot
}

#[test]
fn a_journal_that_cannot_be_synced_ends_the_service() {
    for syncs_left in 0..4 {
        let dir = TempDir::new().unwrap();
        let break_it = |recovered: &mut Recovered| {
            recovered.export.replace_journal(|inner| {
                Box::new(FailingFile {
                    inner,
                    syncs_left,
                    bytes_left: usize::MAX,
                })
            });
        };
        let acknowledged = commit_until_failure(dir.path(), break_it, "the medium failed");
        assert_eq!(acknowledged, u64::from(syncs_left));
        has_everything(dir.path(), acknowledged);
    }
}

#[test]
fn a_database_that_cannot_be_synced_ends_the_service() {
    for syncs_left in 0..4 {
        let dir = TempDir::new().unwrap();
        let break_it = |recovered: &mut Recovered| {
            recovered.ledger.replace_file(|inner| {
                Box::new(FailingFile {
                    inner,
                    syncs_left,
                    bytes_left: usize::MAX,
                })
            });
        };
        let acknowledged =
            commit_until_failure(dir.path(), break_it, "sled/db could not be synced");
        assert_eq!(acknowledged, u64::from(syncs_left));
        // The journal had it already: undecided turns out as kept.
        assert_eq!(
            has_everything(dir.path(), acknowledged).seq,
            acknowledged + 1
        );
    }
}

#[test]
fn a_disk_that_fills_up_in_the_middle_of_a_frame_leaves_nothing_half() {
    for bytes_left in (0..600).step_by(37) {
        let dir = TempDir::new().unwrap();
        let break_it = |recovered: &mut Recovered| {
            recovered.export.replace_journal(|inner| {
                Box::new(FailingFile {
                    inner,
                    syncs_left: u32::MAX,
                    bytes_left,
                })
            });
        };
        let acknowledged =
            commit_until_failure(dir.path(), break_it, "the journal could not be written");
        assert_eq!(has_everything(dir.path(), acknowledged).seq, acknowledged);
    }
}
