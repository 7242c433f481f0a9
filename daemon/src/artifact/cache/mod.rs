//! Artifacts on disk: what this node compiled, and nothing else.
//!
//! Takes native code that a compile child just wrote; promises that what it hands out is byte for byte what it took,
//! for that component and that engine, checked on the open file it hands out. Never gives out a file that fails any
//! check, never overwrites one, never keeps more than its bounds. A lost or bad artifact is no loss: it is compiled
//! again from the stored component.
//!
//! Each use is authenticated anew. Remembering a file by device, inode, size and times would save a fraction of a
//! millisecond, and would trust clocks that step and timestamps that the owner of a file can set: not worth it.
//!
//! Everything here blocks on the disk: call it off the async runtime.

mod files;
mod index;
mod key;
mod trailer;

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_lc_rs::hmac;
use edge_config::Digest;
use rustix::fs::{AtFlags, Dir, Mode, OFlags, fstat, openat, statat, unlinkat};
use rustix::io::Errno;

pub(crate) use key::KeyFile;
pub use key::{ArtifactKey, KeyError};
pub(crate) use trailer::TRAILER_BYTES;

use self::index::Index;
use self::trailer::Head;
use super::name::{CompatHash, artifact_name};
use crate::hex::{hex, random_id};
use crate::link::ArtifactName;

/// Bad artifacts that are kept for a look; beyond, the oldest goes.
pub const SET_ASIDE_MAX: usize = 16;
const SET_ASIDE_DIR: &str = "set-aside";
const UNFINISHED_DIR: &str = "unfinished";

/// How much may lie on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheBounds {
    /// Bytes over all artifacts. The files set aside and one unfinished file come on top.
    pub total_bytes_max: u64,
    /// Bytes of one artifact.
    pub artifact_bytes_max: u64,
    /// Artifacts.
    pub artifacts_max: usize,
}

/// Why an artifact cannot be used. All but [`ArtifactError::Io`] are mended by compiling again.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// There is none.
    #[error("the artifact is not there")]
    Missing,
    /// Not what this node wrote under this name.
    #[error("the artifact was tampered with: {what}")]
    Tampered {
        /// Which check failed.
        what: &'static str,
    },
    /// The end is missing.
    #[error("the artifact is truncated")]
    Truncated,
    /// This node wrote it, for another engine.
    #[error("the artifact is for another engine, CPU or wasmtime version")]
    OtherEngine,
    /// The disk.
    #[error("the artifact cannot be read")]
    Io(#[from] io::Error),
}

/// Why an artifact was not stored.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The compile child's output is not what was announced.
    #[error("the native code has {have} bytes instead of {want}")]
    WrongLength {
        /// In the file.
        have: u64,
        /// As announced.
        want: u64,
    },
    /// It would not fit, were it alone.
    #[error("the artifact has {bytes} bytes; at most {bytes_max} are allowed")]
    TooLarge {
        /// With its trailer.
        bytes: u64,
        /// The bound.
        bytes_max: u64,
    },
    /// The disk.
    #[error("the artifact cannot be written")]
    Io(#[from] io::Error),
}

/// An artifact that is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// Its name.
    pub name: ArtifactName,
    /// Its length on disk.
    pub file_bytes: u64,
    /// Whether there was one already, which then stays.
    pub was_there: bool,
}

/// What happened to artifacts since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ArtifactCounts {
    /// Handed out after all checks.
    pub verified: u64,
    /// Asked for and not there.
    pub missing: u64,
    /// Set aside: [`ArtifactError::Tampered`].
    pub tampered: u64,
    /// Set aside: [`ArtifactError::Truncated`].
    pub truncated: u64,
    /// Set aside: [`ArtifactError::OtherEngine`].
    pub other_engine: u64,
    /// Stored.
    pub committed: u64,
    /// Removed to stay within the bounds, or because nothing refers to them.
    pub dropped: u64,
}

/// The folder of artifacts.
pub struct ArtifactCache {
    dir: OwnedFd,
    unfinished: OwnedFd,
    set_aside: OwnedFd,
    key: ArtifactKey,
    compat: CompatHash,
    bounds: CacheBounds,
    /// Taken for every change to which name is which file. Read from the disk when first needed, not at start.
    index: Mutex<Option<Index>>,
    counters: Counters,
}

#[derive(Default)]
struct Counters {
    verified: AtomicU64,
    missing: AtomicU64,
    tampered: AtomicU64,
    truncated: AtomicU64,
    other_engine: AtomicU64,
    committed: AtomicU64,
    dropped: AtomicU64,
}

impl ArtifactCache {
    /// Opens the folder, making it if it is not there, and removes what was left unfinished. `compat` is of the engine
    /// that artifacts are for; of others none is handed out.
    ///
    /// # Errors
    /// If the folder cannot be made or belongs to another user.
    pub fn open(
        dir: &Path,
        key: ArtifactKey,
        compat: CompatHash,
        bounds: CacheBounds,
    ) -> io::Result<Self> {
        let dir = files::open_private_dir(dir)?;
        let unfinished = files::open_private_subdir(&dir, UNFINISHED_DIR)?;
        let set_aside = files::open_private_subdir(&dir, SET_ASIDE_DIR)?;
        for name in names_in(&unfinished)? {
            remove(&unfinished, &name)?;
        }
        Ok(Self {
            dir,
            unfinished,
            set_aside,
            key,
            compat,
            bounds,
            index: Mutex::new(None),
            counters: Counters::default(),
        })
    }

    /// The name of a component's artifact here.
    #[must_use]
    pub fn name_of(&self, component: &Digest) -> ArtifactName {
        artifact_name(component, &self.compat)
    }

    /// An empty file without a name for a compile child to write to. It vanishes with its last descriptor, so that a
    /// crash leaves nothing, and its pages rarely reach the disk before they are dropped.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn begin(&self) -> io::Result<File> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::EXCL | OFlags::CLOEXEC;
        match openat(&self.unfinished, ".", flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => Ok(file.into()),
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {
                let name = random_id()?;
                let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                let file = openat(&self.unfinished, &name, flags, Mode::RUSR | Mode::WUSR)?;
                unlinkat(&self.unfinished, &name, AtFlags::empty())?;
                Ok(file.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Stores what a compile child wrote for `component`: authenticated, on disk, and whole or not at all.
    ///
    /// The native code is copied into a file that the child never had, so that whatever may be left of the child
    /// cannot change it. `is_referenced` tells which artifacts to keep when room is short; the others go first.
    ///
    /// # Errors
    /// [`CommitError`]; nothing is stored then.
    pub fn commit(
        &self,
        native: &File,
        native_bytes: u64,
        component: &Digest,
        is_referenced: &dyn Fn(&ArtifactName) -> bool,
    ) -> Result<Committed, CommitError> {
        let have = native.metadata()?.len();
        if have != native_bytes {
            return Err(CommitError::WrongLength {
                have,
                want: native_bytes,
            });
        }
        let file_bytes = native_bytes.saturating_add(TRAILER_BYTES as u64);
        let bytes_max = self
            .bounds
            .artifact_bytes_max
            .min(self.bounds.total_bytes_max);
        if file_bytes > bytes_max {
            return Err(CommitError::TooLarge {
                bytes: file_bytes,
                bytes_max,
            });
        }
        let unfinished = Unfinished {
            dir: &self.unfinished,
            name: random_id()?,
        };
        self.write(&unfinished.name, native, native_bytes, component)?;

        let name = self.name_of(component);
        let (folder, file_name) = place(&name);
        let mut index = self.index()?;
        let folder = files::open_private_subdir(&self.dir, &folder)?;
        let index = index.get_or_insert_default();
        let dropped = index.make_room(
            &self.bounds,
            file_bytes,
            &name,
            is_referenced,
            &mut |name| self.unlink(name),
        )?;
        self.counters.dropped.fetch_add(dropped, Ordering::Relaxed);
        let is_new =
            files::rename_new((&self.unfinished, &unfinished.name), (&folder, &file_name))?;
        if is_new {
            files::sync_dir(&folder)?;
            index.insert(name, file_bytes);
            self.counters.committed.fetch_add(1, Ordering::Relaxed);
        }
        Ok(Committed {
            name,
            file_bytes,
            was_there: !is_new,
        })
    }

    /// Opens an artifact and checks every byte of it through the very descriptor that is returned, which is open for
    /// reading only and may be passed on. A file that fails is set aside.
    ///
    /// # Errors
    /// [`ArtifactError`].
    pub fn open_verified(
        &self,
        name: &ArtifactName,
        component: &Digest,
    ) -> Result<File, ArtifactError> {
        let opened = self.open_checked(name, component);
        let counter = match &opened {
            Ok(_) => &self.counters.verified,
            Err(ArtifactError::Missing) => &self.counters.missing,
            Err(ArtifactError::Tampered { .. }) => &self.counters.tampered,
            Err(ArtifactError::Truncated) => &self.counters.truncated,
            Err(ArtifactError::OtherEngine) => &self.counters.other_engine,
            Err(ArtifactError::Io(_)) => return opened,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        if opened.is_ok()
            && let Some(index) = self.lock().as_mut()
        {
            index.used(name);
        }
        opened
    }

    /// Removes every artifact that nothing refers to. Gives the number removed.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn drop_unreferenced(
        &self,
        is_referenced: &dyn Fn(&ArtifactName) -> bool,
    ) -> io::Result<u64> {
        let mut index = self.index()?;
        let index = index.get_or_insert_default();
        let dropped = index.drop_unreferenced(is_referenced, &mut |name| self.unlink(name))?;
        self.counters.dropped.fetch_add(dropped, Ordering::Relaxed);
        Ok(dropped)
    }

    /// How many artifacts there are, and their bytes.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn usage(&self) -> io::Result<(usize, u64)> {
        Ok(self.index()?.get_or_insert_default().usage())
    }

    /// What happened so far.
    #[must_use]
    pub fn counts(&self) -> ArtifactCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ArtifactCounts {
            verified: read(&self.counters.verified),
            missing: read(&self.counters.missing),
            tampered: read(&self.counters.tampered),
            truncated: read(&self.counters.truncated),
            other_engine: read(&self.counters.other_engine),
            committed: read(&self.counters.committed),
            dropped: read(&self.counters.dropped),
        }
    }

    /// Copies the native code, adds the trailer, and has both on the disk.
    fn write(
        &self,
        name: &str,
        native: &File,
        native_bytes: u64,
        component: &Digest,
    ) -> Result<(), CommitError> {
        let mut file = files::create(&self.unfinished, name)?;
        let mut context = hmac::Context::with_key(&self.key.0);
        let copied = trailer::each_chunk(native, native_bytes, |chunk| {
            context.update(chunk);
            file.write_all(chunk)
        });
        match copied {
            Ok(()) => {}
            Err(ArtifactError::Io(error)) => return Err(error.into()),
            Err(_) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
        }
        let head = Head {
            body_bytes: native_bytes,
            component: *component,
            compat: self.compat,
        };
        let head = head.to_bytes();
        context.update(&head);
        file.write_all(&head)?;
        file.write_all(context.sign().as_ref())?;
        file.sync_all()?;
        Ok(())
    }

    fn open_checked(&self, name: &ArtifactName, component: &Digest) -> Result<File, ArtifactError> {
        // The caller's name for an engine that is gone.
        if *name != self.name_of(component) {
            return Err(ArtifactError::Missing);
        }
        let (folder_name, file_name) = place(name);
        let folder = match files::open_subdir(&self.dir, &folder_name) {
            Ok(folder) => folder,
            Err(Errno::NOENT) => return Err(ArtifactError::Missing),
            Err(Errno::LOOP | Errno::NOTDIR) => {
                self.put_aside(&self.dir, &folder_name, name, None)?;
                return Err(ArtifactError::Tampered {
                    what: "its folder is not a folder",
                });
            }
            Err(error) => return Err(io::Error::from(error).into()),
        };
        let file = match files::open_to_read(&folder, &file_name) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Err(ArtifactError::Missing),
            Err(Errno::LOOP | Errno::NXIO | Errno::ACCESS) => {
                self.put_aside(&folder, &file_name, name, None)?;
                return Err(ArtifactError::Tampered {
                    what: "it is not a regular file",
                });
            }
            Err(error) => return Err(io::Error::from(error).into()),
        };
        match self.check(&file, component) {
            Ok(()) => Ok(file),
            // The disk is in trouble: that says nothing about the file.
            Err(ArtifactError::Io(error)) => Err(ArtifactError::Io(error)),
            Err(bad) => {
                self.put_aside(&folder, &file_name, name, Some(&file))?;
                Err(bad)
            }
        }
    }

    fn check(&self, file: &File, component: &Digest) -> Result<(), ArtifactError> {
        let stat = fstat(file).map_err(io::Error::from)?;
        let file_bytes = files::size_bytes(&stat);
        let what = if !files::is_regular(&stat) {
            Some("it is not a regular file")
        } else if !files::is_ours(&stat) {
            Some("it belongs to another user")
        } else if files::others_may_write(&stat) {
            Some("other users may write it")
        } else if stat.st_nlink != 1 {
            Some("it has another name as well")
        } else if file_bytes > self.bounds.artifact_bytes_max {
            Some("it is larger than any artifact may be")
        } else {
            None
        };
        if let Some(what) = what {
            return Err(ArtifactError::Tampered { what });
        }
        trailer::verify(file, file_bytes, &self.key, component, &self.compat)
    }

    /// Moves a bad entry out of the way, unless another took its place meanwhile.
    fn put_aside(
        &self,
        folder: &OwnedFd,
        entry: &str,
        name: &ArtifactName,
        file: Option<&File>,
    ) -> io::Result<()> {
        let mut index = self.lock();
        if let Some(file) = file {
            let (opened, now) = match (
                fstat(file),
                statat(folder, entry, AtFlags::SYMLINK_NOFOLLOW),
            ) {
                (Ok(opened), Ok(now)) => (opened, now),
                (_, Err(Errno::NOENT)) => return Ok(()),
                (Err(error), _) | (_, Err(error)) => return Err(error.into()),
            };
            if (opened.st_dev, opened.st_ino) != (now.st_dev, now.st_ino) {
                return Ok(());
            }
        }
        let mut kept = names_in(&self.set_aside)?;
        kept.sort_unstable();
        let next = kept
            .last()
            .and_then(|last| last.split_once('-')?.0.parse::<u64>().ok())
            .map_or(0, |last| last + 1);
        let surplus = (kept.len() + 1).saturating_sub(SET_ASIDE_MAX);
        for oldest in kept.iter().take(surplus) {
            remove(&self.set_aside, oldest)?;
        }
        // Sorts by age.
        let aside = format!("{next:020}-{}", hex(&name.0));
        if !files::rename_new((folder, entry), (&self.set_aside, &aside))? {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists));
        }
        files::sync_dir(folder)?;
        if let Some(index) = index.as_mut() {
            index.remove(name);
        }
        Ok(())
    }

    fn unlink(&self, name: &ArtifactName) -> io::Result<()> {
        let (folder, file_name) = place(name);
        let unlinked = files::open_subdir(&self.dir, &folder)
            .and_then(|folder| unlinkat(&folder, &file_name, AtFlags::empty()));
        match unlinked {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The lock, with the index in it.
    fn index(&self) -> io::Result<MutexGuard<'_, Option<Index>>> {
        let mut index = self.lock();
        if index.is_none() {
            *index = Some(Index::read(&self.dir)?);
        }
        Ok(index)
    }

    /// An index left behind by a panic is at worst out of date, and names what it fails to find.
    fn lock(&self) -> MutexGuard<'_, Option<Index>> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file that goes away unless it gets its proper name.
struct Unfinished<'a> {
    dir: &'a OwnedFd,
    name: String,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        // Gone if it was renamed; if this fails, the next start removes it.
        let _ = unlinkat(self.dir, &self.name, AtFlags::empty());
    }
}

/// Folder and file name. 256 folders keep each short.
fn place(name: &ArtifactName) -> (String, String) {
    let file = hex(&name.0);
    let folder = file.chars().take(2).collect();
    (folder, file)
}

/// What lies in a folder.
fn names_in(dir: &OwnedFd) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        // Every name this room gives is ASCII; others are not ours to touch.
        if let Ok(name) = entry.file_name().to_str()
            && name != "."
            && name != ".."
        {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// Removes a file, or an empty folder.
fn remove(dir: &OwnedFd, name: &str) -> io::Result<()> {
    match unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => Ok(unlinkat(dir, name, AtFlags::REMOVEDIR)?),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
