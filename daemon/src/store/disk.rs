//! The few things the store asks of a disk, in one place, so that tests can make each of them fail.
//!
//! Takes paths and open files of the store's own choosing. Promises that what it reports as synced was handed to the
//! device. Never goes around `std::fs`: the power-loss shim (`tests/powerloss`) watches libc calls, and a raw system
//! call would slip past it.

use std::fs::File;
use std::io::{self, Write};
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

/// Makes the names in a directory durable: a created, renamed or removed file is only that after this.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Creates a directory and the parents it lacks, and makes their names durable.
pub(super) fn create_dir(dir: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = dir
        .ancestors()
        .take_while(|dir| !dir.as_os_str().is_empty() && !dir.is_dir())
        .collect();
    std::fs::create_dir_all(dir)?;
    for made in missing.into_iter().rev() {
        match made.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => sync_dir(parent)?,
            _ => sync_dir(Path::new("."))?,
        }
    }
    Ok(())
}

/// Writes a file so that its name never shows anything but the whole of it: temporary name, sync, rename, sync of
/// the directory.
pub(super) fn write_whole(dir: &Path, name: &str, parts: &[&[u8]]) -> io::Result<()> {
    let temporary = dir.join(format!("{name}.tmp"));
    let mut file = File::create(&temporary)?;
    for part in parts {
        file.write_all(part)?;
    }
    file.sync_all()?;
    drop(file);
    std::fs::rename(&temporary, dir.join(name))?;
    sync_dir(dir)
}

/// The bytes an unprivileged process may still write on the filesystem that holds `dir`.
pub(super) fn free_bytes(dir: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}
