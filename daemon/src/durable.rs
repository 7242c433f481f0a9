//! Files and folders whose names survive a power cut.
//!
//! Takes paths of the daemon's own choosing. Promises that once a call returns, what it made is there after the power
//! went, whole. Does no more than that: what a file means is its room's matter.
//!
//! A created, renamed or removed name is only durable once its directory was synced (fsync(2)).

use std::fs::{DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

/// Makes the names in a directory durable.
///
/// # Errors
/// Where it cannot be opened or synced.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Creates a directory that only this user may enter (mode 0700), and the parents it lacks, and makes their names
/// durable. One that is there is left as it is.
///
/// # Errors
/// Where one cannot be made or synced.
pub(crate) fn create_private_dir(dir: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = dir
        .ancestors()
        .take_while(|dir| !dir.as_os_str().is_empty() && !dir.is_dir())
        .collect();
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
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
///
/// # Errors
/// Where any of these fails; the file of that name is then the old one or the new one.
pub(crate) fn write_whole(dir: &Path, name: &str, parts: &[&[u8]]) -> io::Result<()> {
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
