//! The few things the store asks of a disk, in one place, so that tests can make each of them fail.
//!
//! Takes paths and open files of the store's own choosing. Promises that what it reports as synced was handed to the
//! device. Never goes around libc: the power-loss shim (`tests/powerloss`) watches its calls, and a raw system call would
//! slip past it.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

/// A file that is written at its end and made durable on demand.
pub(super) trait DurableFile: Send {
    /// Writes all of `bytes` at the end.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Returns once content and length would survive a power cut.
    ///
    /// After an error nothing is known about what was written before: the kernel marks the pages clean all the same,
    /// so a second attempt that succeeds proves nothing. The caller gives up on the file.
    fn sync(&mut self) -> io::Result<()>;
}

impl DurableFile for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

/// The bytes an unprivileged process may still write on the filesystem that holds `dir`.
pub(super) fn free_bytes(dir: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}
