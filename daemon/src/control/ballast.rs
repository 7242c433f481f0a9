//! Room on the disk that is taken up so that it can be given back: a node whose disk is full to the last byte could not
//! open its store, and would not start.
//!
//! What it makes room for is the start, not changes: those are refused before it is needed.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FallocateFlags, fallocate, statvfs};

/// What opening the store, writing down that it is open, and closing it well take, several times over.
const BALLAST_BYTES: u64 = 8 << 20;

/// A file of that size in the data folder.
#[derive(Debug, Clone)]
pub(super) struct Ballast(PathBuf);

impl Ballast {
    pub(super) fn in_folder(data: &Path) -> Self {
        Self(data.join("ballast"))
    }

    /// Gives the room back if less than it is free; before the store is opened.
    pub(super) fn give_back_if_full(&self) {
        let free_bytes = self.free_bytes().unwrap_or(u64::MAX);
        if free_bytes >= BALLAST_BYTES {
            return;
        }
        match std::fs::remove_file(&self.0) {
            Ok(()) => tracing::warn!(
                free_bytes,
                BALLAST_BYTES,
                "the disk is full; what was kept for starting is used up until there is room again"
            ),
            Err(error) => {
                tracing::warn!(%error, free_bytes, "the disk is full, with nothing kept for starting")
            }
        }
    }

    /// Takes the room up, if it is not and `reserve_bytes` stay free.
    ///
    /// # Errors
    /// What the file system says, which may have no way to take up room without writing. Nothing is left then.
    pub(super) fn take_up(&self, reserve_bytes: u64) -> io::Result<()> {
        let there = std::fs::metadata(&self.0).map_or(0, |found| found.len());
        if there == BALLAST_BYTES
            || self.free_bytes()? < BALLAST_BYTES.saturating_add(reserve_bytes)
        {
            return Ok(());
        }
        let taken = File::create(&self.0).and_then(|file| {
            // Not written: flash wears out by that.
            fallocate(&file, FallocateFlags::empty(), 0, BALLAST_BYTES)?;
            Ok(())
        });
        if taken.is_err() {
            let _ = std::fs::remove_file(&self.0);
        }
        taken
    }

    /// Takes it up now and, where there was no room, later.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    pub(super) async fn keep(self, every: Duration, reserve_bytes: u64) {
        loop {
            let ballast = self.clone();
            let taken = tokio::task::spawn_blocking(move || ballast.take_up(reserve_bytes)).await;
            if let Ok(Err(error)) = taken {
                tracing::warn!(%error, "no room can be kept on this disk; a node whose disk is full does not start");
                return;
            }
            tokio::time::sleep(every).await;
        }
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let folder = self.0.parent().unwrap_or(Path::new("/"));
        let disk = statvfs(folder)?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_taken_up_once_and_only_where_there_is_enough() {
        let folder = tempfile::tempdir().unwrap();
        let ballast = Ballast::in_folder(folder.path());
        ballast.take_up(u64::MAX).unwrap();
        assert!(!ballast.0.exists(), "nobody has that much");
        ballast.take_up(0).unwrap();
        let made = std::fs::metadata(&ballast.0).unwrap();
        assert_eq!(made.len(), BALLAST_BYTES);
        ballast.take_up(0).unwrap();
        let again = std::fs::metadata(&ballast.0).unwrap();
        assert_eq!(made.modified().unwrap(), again.modified().unwrap());
        ballast.give_back_if_full();
        assert!(ballast.0.exists(), "the disk is not full");
    }
}
