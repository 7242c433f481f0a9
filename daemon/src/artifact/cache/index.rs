//! Which artifacts there are, how large, and how long unused.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, statat};

use super::{CacheBounds, files, names_in};
use crate::hex::unhex;
use crate::link::ArtifactName;

#[derive(Default)]
pub(super) struct Index {
    entries: HashMap<ArtifactName, Entry>,
    total_bytes: u64,
    /// Counts uses; the larger an entry's, the more recent.
    clock: u64,
}

struct Entry {
    bytes: u64,
    used: u64,
}

/// Removes an artifact's file.
type Unlink<'a> = &'a mut dyn FnMut(&ArtifactName) -> io::Result<()>;

impl Index {
    /// What lies in the folder. Files that have no artifact's name are left alone.
    pub(super) fn read(dir: &OwnedFd) -> io::Result<Self> {
        let mut found = Vec::new();
        for folder_name in names_in(dir)?.iter().filter(|name| name.len() == 2) {
            let Ok(folder) = files::open_subdir(dir, folder_name) else {
                continue;
            };
            for file_name in names_in(&folder)? {
                let Some(name) =
                    unhex(&file_name).filter(|_| file_name.starts_with(folder_name.as_str()))
                else {
                    continue;
                };
                let stat = statat(&folder, &file_name, AtFlags::SYMLINK_NOFOLLOW)?;
                found.push((stat.st_mtime, ArtifactName(name), files::size_bytes(&stat)));
            }
        }
        // As far as is known after a start, what was made last was used last.
        found.sort_unstable();
        let mut index = Self::default();
        for (_, name, bytes) in found {
            index.insert(name, bytes);
        }
        Ok(index)
    }

    pub(super) fn insert(&mut self, name: ArtifactName, bytes: u64) {
        self.remove(&name);
        self.clock += 1;
        self.total_bytes = self.total_bytes.saturating_add(bytes);
        let used = self.clock;
        self.entries.insert(name, Entry { bytes, used });
    }

    pub(super) fn remove(&mut self, name: &ArtifactName) {
        if let Some(entry) = self.entries.remove(name) {
            self.total_bytes = self.total_bytes.saturating_sub(entry.bytes);
        }
    }

    pub(super) fn used(&mut self, name: &ArtifactName) {
        self.clock += 1;
        if let Some(entry) = self.entries.get_mut(name) {
            entry.used = self.clock;
        }
    }

    /// Number and bytes.
    pub(super) fn usage(&self) -> (usize, u64) {
        (self.entries.len(), self.total_bytes)
    }

    /// Removes artifacts until one of `bytes` fits: unreferenced ones first, and of each kind the longest unused
    /// first. Gives the number removed.
    pub(super) fn make_room(
        &mut self,
        bounds: &CacheBounds,
        bytes: u64,
        newcomer: &ArtifactName,
        is_referenced: &dyn Fn(&ArtifactName) -> bool,
        unlink: Unlink<'_>,
    ) -> io::Result<u64> {
        if self.entries.contains_key(newcomer) || self.fits(bounds, bytes) {
            return Ok(0);
        }
        let mut order: Vec<(bool, u64, ArtifactName)> = self
            .entries
            .iter()
            .map(|(name, entry)| (is_referenced(name), entry.used, *name))
            .collect();
        order.sort_unstable();
        let mut dropped = 0;
        for (_, _, name) in order {
            if self.fits(bounds, bytes) {
                break;
            }
            unlink(&name)?;
            self.remove(&name);
            dropped += 1;
        }
        Ok(dropped)
    }

    /// Removes whatever is not referenced. Gives the number removed.
    pub(super) fn drop_unreferenced(
        &mut self,
        is_referenced: &dyn Fn(&ArtifactName) -> bool,
        unlink: Unlink<'_>,
    ) -> io::Result<u64> {
        let names = self.entries.keys().filter(|name| !is_referenced(name));
        let names: Vec<ArtifactName> = names.copied().collect();
        let mut dropped = 0;
        for name in names {
            unlink(&name)?;
            self.remove(&name);
            dropped += 1;
        }
        Ok(dropped)
    }

    fn fits(&self, bounds: &CacheBounds, bytes: u64) -> bool {
        self.total_bytes.saturating_add(bytes) <= bounds.total_bytes_max
            && self.entries.len() < bounds.artifacts_max
    }
}
