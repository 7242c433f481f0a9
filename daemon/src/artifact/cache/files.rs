//! Files of this room: opened relative to a folder, never through a link, and judged before use.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, Stat, fchmod, fstat, fsync, mkdirat, openat,
    renameat, renameat_with, statat,
};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::durable::create_private_dir;

const DIR: OFlags = OFlags::DIRECTORY
    .union(OFlags::RDONLY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Opens a folder that only this user may change, making it if it is not there.
pub(super) fn open_private_dir(path: &Path) -> io::Result<OwnedFd> {
    create_private_dir(path)?;
    let dir = openat(CWD, path, DIR, Mode::empty())?;
    let stat = fstat(&dir)?;
    if !is_ours(&stat) {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("{} belongs to another user", path.display()),
        ));
    }
    fchmod(&dir, Mode::RWXU)?;
    Ok(dir)
}

/// The same for a folder inside another.
pub(super) fn open_private_subdir(parent: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    match mkdirat(parent, name, Mode::RWXU) {
        Ok(()) => fsync(parent)?,
        Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(openat(parent, name, DIR, Mode::empty())?)
}

/// Opens a folder that is there.
pub(super) fn open_subdir(parent: &OwnedFd, name: &str) -> Result<OwnedFd, Errno> {
    openat(parent, name, DIR, Mode::empty())
}

/// Opens a file for reading; never a link, and never waiting for the other end of a pipe.
pub(super) fn open_to_read(dir: &OwnedFd, name: &str) -> Result<File, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    openat(dir, name, flags, Mode::empty()).map(File::from)
}

/// Makes a file that was not there, readable by this user alone and writable through the returned handle only.
pub(super) fn create(dir: &OwnedFd, name: &str) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(dir, name, flags, Mode::RUSR)?.into())
}

/// Gives a file its name, unless that name is taken: then `false`.
///
/// On file systems without `RENAME_NOREPLACE` (renameat2(2)) two steps that the caller keeps others out of.
pub(super) fn rename_new(from: (&OwnedFd, &str), to: (&OwnedFd, &str)) -> io::Result<bool> {
    match renameat_with(from.0, from.1, to.0, to.1, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(Errno::INVAL | Errno::NOSYS) => match statat(to.0, to.1, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(false),
            Err(Errno::NOENT) => Ok(renameat(from.0, from.1, to.0, to.1).map(|()| true)?),
            Err(error) => Err(error.into()),
        },
        Err(error) => Err(error.into()),
    }
}

pub(super) fn sync_dir(dir: impl AsFd) -> io::Result<()> {
    Ok(fsync(dir)?)
}

pub(super) fn is_ours(stat: &Stat) -> bool {
    stat.st_uid == geteuid().as_raw()
}

pub(super) fn is_regular(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

/// Whether anyone but the owner may write.
pub(super) fn others_may_write(stat: &Stat) -> bool {
    Mode::from_raw_mode(stat.st_mode).intersects(Mode::WGRP | Mode::WOTH)
}

/// Sizes are never negative.
pub(super) fn size_bytes(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}
