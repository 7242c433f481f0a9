//! Components as files, named by what is in them.
//!
//! Takes bytes as they stream in, hashes them on the way to a temporary file, and gives them a name only once they are
//! whole and on the device. Promises that a file under a digest's name holds the bytes of that digest or, where the
//! disk decayed, is refused by [`Blobs::open_verified`]; that a finished component survives a power cut; and that
//! [`Blobs::collect`] removes nothing that is referenced or leased. Names are digests only: no text of a tenant becomes
//! a path.
//!
//! ```text
//! components/<first two hex digits>/<64 hex digits>
//! components/incoming/<random>                         removed at start
//! ```
//!
//! All calls block on the disk: keep them off the async runtime.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest::{Context, SHA256};
use edge_config::Digest;

use super::disk::free_bytes;
use crate::durable::{create_private_dir, sync_dir};
use crate::hex::{hex, random_id};

const INCOMING_DIR: &str = "incoming";
/// Read at once while a file is verified, in bytes.
const READ_BYTES: usize = 64 * 1024;

/// The digest of a component held in memory.
#[must_use]
pub fn digest_of(component: &[u8]) -> Digest {
    let mut context = Context::new(&SHA256);
    context.update(component);
    finish(context)
}

/// Why a component could not be kept or given.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// A file or directory could not be used.
    #[error("could not {action} {}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Writing would leave too little space on the disk.
    #[error(
        "{free_bytes} bytes are free on the disk; {needed_bytes} must be: {reserve_bytes} are kept in reserve"
    )]
    NoSpace {
        /// What is free.
        free_bytes: u64,
        /// What the write and the reserve need together.
        needed_bytes: u64,
        /// What is never used up.
        reserve_bytes: u64,
    },
    /// More bytes came than were allowed.
    #[error("the component is larger than {bytes_max} bytes")]
    TooLarge {
        /// The most that was allowed.
        bytes_max: u64,
    },
    /// The bytes are not those that were announced.
    #[error("the component's digest is {found}, not {expected}")]
    OtherDigest {
        /// What was announced.
        expected: Digest,
        /// What the bytes have.
        found: Digest,
    },
    /// There is no such component.
    #[error("there is no component {digest}")]
    Missing {
        /// Its digest.
        digest: Digest,
    },
    /// The file no longer holds what its name says.
    #[error("the component {expected} is damaged: its file {} has the digest {found}", path.display())]
    Damaged {
        /// What its name says.
        expected: Digest,
        /// What it holds.
        found: Digest,
        /// The file.
        path: PathBuf,
    },
}

fn failed<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> BlobError + 'a {
    move |source| BlobError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

/// The components of a node. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Blobs {
    root: PathBuf,
    reserve_bytes: u64,
    leases: Arc<Mutex<Leases>>,
}

/// Who must not lose what.
#[derive(Debug, Default)]
struct Leases {
    /// Leases held, by digest.
    held: HashMap<Digest, usize>,
    /// While a collection works out what is referenced: everything leased at any time since it began.
    since_collection_began: Option<HashSet<Digest>>,
}

/// Keeps a component from being collected until it is dropped: taken by an upload before its component has a name,
/// given up once the store refers to it.
#[derive(Debug)]
pub struct BlobLease {
    digest: Digest,
    leases: Arc<Mutex<Leases>>,
}

impl BlobLease {
    /// The component it holds.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

impl Drop for BlobLease {
    fn drop(&mut self) {
        let mut leases = lock(&self.leases);
        if let Some(count) = leases.held.get_mut(&self.digest) {
            *count -= 1;
            if *count == 0 {
                leases.held.remove(&self.digest);
            }
        }
    }
}

/// Every change under this lock is a single step, so a panic elsewhere leaves it whole.
fn lock(leases: &Mutex<Leases>) -> MutexGuard<'_, Leases> {
    leases.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a collection did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Components removed.
    pub removed: u64,
    /// Their bytes.
    pub removed_bytes: u64,
    /// Components left.
    pub kept: u64,
}

impl Blobs {
    /// Opens or creates the folder, and removes what unfinished uploads left.
    ///
    /// At least `reserve_bytes` stay free on the disk.
    ///
    /// # Errors
    /// [`BlobError::Io`].
    pub fn open(root: impl Into<PathBuf>, reserve_bytes: u64) -> Result<Self, BlobError> {
        let root = root.into();
        let incoming = root.join(INCOMING_DIR);
        create_private_dir(&incoming).map_err(failed("create", &incoming))?;
        for entry in fs::read_dir(&incoming).map_err(failed("list", &incoming))? {
            let path = entry.map_err(failed("list", &incoming))?.path();
            fs::remove_file(&path).map_err(failed("remove", &path))?;
        }
        Ok(Self {
            root,
            reserve_bytes,
            leases: Arc::default(),
        })
    }

    /// Whether `bytes` may be written without touching the reserve.
    ///
    /// # Errors
    /// [`BlobError::NoSpace`] where they may not.
    pub fn check_space(&self, bytes: u64) -> Result<(), BlobError> {
        let free_bytes = free_bytes(&self.root).map_err(failed("measure", &self.root))?;
        let needed_bytes = bytes.saturating_add(self.reserve_bytes);
        if free_bytes < needed_bytes {
            return Err(BlobError::NoSpace {
                free_bytes,
                needed_bytes,
                reserve_bytes: self.reserve_bytes,
            });
        }
        Ok(())
    }

    /// Begins a component of at most `bytes_max` bytes; the space for all of them must be there.
    ///
    /// # Errors
    /// [`BlobError::NoSpace`], [`BlobError::Io`].
    pub fn begin(&self, bytes_max: u64) -> Result<IncomingBlob, BlobError> {
        self.check_space(bytes_max)?;
        let incoming = self.root.join(INCOMING_DIR);
        let path = incoming.join(random_id().map_err(failed("name a file in", &incoming))?);
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(failed("create", &path))?;
        Ok(IncomingBlob {
            blobs: self.clone(),
            file,
            path,
            context: Context::new(&SHA256),
            bytes: 0,
            bytes_max,
        })
    }

    /// Keeps a component from being collected, whether or not it is there yet.
    #[must_use]
    pub fn lease(&self, digest: Digest) -> BlobLease {
        let mut leases = lock(&self.leases);
        *leases.held.entry(digest).or_default() += 1;
        if let Some(since) = &mut leases.since_collection_began {
            since.insert(digest);
        }
        BlobLease {
            digest,
            leases: Arc::clone(&self.leases),
        }
    }

    /// Opens a component for reading, after hashing all of it: the file given back is the one that was hashed.
    ///
    /// # Errors
    /// [`BlobError::Missing`], [`BlobError::Damaged`], [`BlobError::Io`].
    pub fn open_verified(&self, digest: &Digest) -> Result<File, BlobError> {
        let path = self.path(digest);
        let mut file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(BlobError::Missing { digest: *digest });
            }
            opened => opened.map_err(failed("open", &path))?,
        };
        let found = hash(&mut file).map_err(failed("read", &path))?;
        if found != *digest {
            return Err(BlobError::Damaged {
                expected: *digest,
                found,
                path,
            });
        }
        file.seek(SeekFrom::Start(0))
            .map_err(failed("read", &path))?;
        Ok(file)
    }

    /// Opens a component for reading where files were deployed with it, verified; those that say of themselves that they
    /// have none are not read.
    ///
    /// # Errors
    /// Those of [`Self::open_verified`].
    pub fn with_files(&self, digest: &Digest) -> Result<Option<File>, BlobError> {
        let path = self.path(digest);
        let mut end = [0; 8];
        let looked = File::open(&path).and_then(|mut file| {
            file.seek(SeekFrom::End(-8))?;
            file.read_exact(&mut end)
        });
        match looked {
            Ok(()) if control_api::files::says_so(&end) => self.open_verified(digest).map(Some),
            // Artifacts outlive neither their components nor this one's loss.
            Ok(()) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("read", &path)(error)),
        }
    }

    /// Whether a component is there, unverified.
    #[must_use]
    pub fn contains(&self, digest: &Digest) -> bool {
        self.path(digest).is_file()
    }

    /// Every component with its length in bytes, in order of digest. Files with other names are passed over.
    ///
    /// # Errors
    /// [`BlobError::Io`].
    pub fn list(&self) -> Result<Vec<(Digest, u64)>, BlobError> {
        let mut blobs = Vec::new();
        for folder in entries(&self.root)? {
            if folder.file_name().is_none_or(|name| name.len() != 2) {
                continue;
            }
            for path in entries(&folder)? {
                let name = path.file_name().and_then(|name| name.to_str());
                let Some(digest) = name.and_then(|name| Digest::from_hex(name).ok()) else {
                    continue;
                };
                let bytes = path.metadata().map_err(failed("measure", &path))?.len();
                blobs.push((digest, bytes));
            }
        }
        blobs.sort_unstable();
        Ok(blobs)
    }

    /// Removes the components that nobody refers to and nobody leases.
    ///
    /// `referenced` is asked after the collection has begun to watch leases: an upload that commits and gives up its
    /// lease while the set is put together is safe. One collection at a time; a second one waits for nothing and
    /// removes nothing.
    ///
    /// # Errors
    /// [`BlobError::Io`]; what was removed until then stays removed.
    pub fn collect(
        &self,
        referenced: impl FnOnce() -> HashSet<Digest>,
    ) -> Result<Collected, BlobError> {
        {
            let mut leases = lock(&self.leases);
            if leases.since_collection_began.is_some() {
                return Ok(Collected::default());
            }
            leases.since_collection_began = Some(leases.held.keys().copied().collect());
        }
        let _watch = Watch(&self.leases);
        let referenced = referenced();
        let mut collected = Collected::default();
        for (digest, bytes) in self.list()? {
            // The lock is held over the removal: an upload of the very same component either has its lease before,
            // or puts its file in place after.
            let leases = lock(&self.leases);
            let leased = leases
                .since_collection_began
                .as_ref()
                .is_none_or(|since| since.contains(&digest));
            if leased || referenced.contains(&digest) {
                collected.kept += 1;
                continue;
            }
            let path = self.path(&digest);
            fs::remove_file(&path).map_err(failed("remove", &path))?;
            collected.removed += 1;
            collected.removed_bytes += bytes;
        }
        Ok(collected)
    }

    fn folder(&self, digest: &Digest) -> PathBuf {
        let [first, ..] = digest.as_bytes();
        self.root.join(hex(&[*first]))
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.folder(digest).join(digest.hex())
    }
}

/// Ends the watch over leases, however the collection ends.
struct Watch<'a>(&'a Mutex<Leases>);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        lock(self.0).since_collection_began = None;
    }
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>, BlobError> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed("list", dir))? {
        paths.push(entry.map_err(failed("list", dir))?.path());
    }
    Ok(paths)
}

fn hash(file: &mut File) -> io::Result<Digest> {
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(finish(context));
        }
        context.update(buffer.get(..read).unwrap_or_default());
    }
}

fn finish(context: Context) -> Digest {
    let digest = context.finish();
    Digest::from_bytes(digest.as_ref().try_into().expect("SHA-256 gives 32 bytes"))
}

/// A component on its way in. Dropped before it is finished, it leaves nothing behind.
pub struct IncomingBlob {
    blobs: Blobs,
    file: File,
    path: PathBuf,
    context: Context,
    bytes: u64,
    bytes_max: u64,
}

impl fmt::Debug for IncomingBlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IncomingBlob")
            .field("path", &self.path)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl IncomingBlob {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`BlobError::TooLarge`] once more came than was allowed, [`BlobError::Io`].
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        let bytes_max = self.bytes_max;
        if bytes.len() as u64 > bytes_max - self.bytes {
            return Err(BlobError::TooLarge { bytes_max });
        }
        self.file
            .write_all(bytes)
            .map_err(failed("write", &self.path))?;
        self.context.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Bytes taken so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The bytes as a file, for a look at them before they get their name. It shares its position with the writer:
    /// seek before reading, and write no more.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The digest of the bytes so far.
    #[must_use]
    pub fn digest(&self) -> Digest {
        finish(self.context.clone())
    }

    /// Checks the digest and gives the component its name, durably. A file that was there under that name is replaced
    /// by these very bytes, which mends it if it had decayed.
    ///
    /// # Errors
    /// [`BlobError::OtherDigest`], [`BlobError::Io`]; nothing is left behind.
    pub fn finish(self, expected: &Digest) -> Result<BlobLease, BlobError> {
        let found = self.digest();
        if found != *expected {
            return Err(BlobError::OtherDigest {
                expected: *expected,
                found,
            });
        }
        self.file.sync_all().map_err(failed("sync", &self.path))?;
        let lease = self.blobs.lease(found);
        let root = &self.blobs.root;
        let folder = self.blobs.folder(&found);
        fs::create_dir_all(&folder).map_err(failed("create", &folder))?;
        // Always, not only by whoever created the folder: another upload may just have created it and not synced yet.
        sync_dir(root).map_err(failed("sync", root))?;
        let path = self.blobs.path(&found);
        fs::rename(&self.path, &path).map_err(failed("name", &path))?;
        sync_dir(&folder).map_err(failed("sync", &folder))?;
        Ok(lease)
    }
}

impl Drop for IncomingBlob {
    fn drop(&mut self) {
        // Gone already where it was finished; where it cannot be removed, the next start does it.
        fs::remove_file(&self.path).ok();
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    const HELLO: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

    fn open(dir: &TempDir) -> Blobs {
        Blobs::open(dir.path().join("components"), 0).unwrap()
    }

    fn hello() -> Digest {
        Digest::from_hex(HELLO).unwrap()
    }

    fn store(blobs: &Blobs, bytes: &[u8]) -> BlobLease {
        let mut incoming = blobs.begin(100).unwrap();
        incoming.write(bytes).unwrap();
        let digest = incoming.digest();
        incoming.finish(&digest).unwrap()
    }

    fn incoming_files(blobs: &Blobs) -> usize {
        fs::read_dir(blobs.root.join(INCOMING_DIR)).unwrap().count()
    }

    #[test]
    fn bytes_come_back_under_their_digest() {
        let dir = TempDir::new().unwrap();
        let blobs = open(&dir);
        let mut incoming = blobs.begin(5).unwrap();
        incoming.write(b"hel").unwrap();
        incoming.write(b"lo").unwrap();
        assert_eq!(incoming.bytes(), 5);
        assert_eq!(incoming.finish(&hello()).unwrap().digest(), hello());
        assert!(dir.path().join("components/2c").join(HELLO).is_file());
        let mut text = String::new();
        let mut file = blobs.open_verified(&hello()).unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
        assert_eq!(blobs.list().unwrap(), [(hello(), 5)]);
        assert_eq!(incoming_files(&blobs), 0);
    }

    #[test]
    fn what_is_refused_leaves_nothing() {
        let dir = TempDir::new().unwrap();
        let blobs = open(&dir);
        let mut incoming = blobs.begin(5).unwrap();
        incoming.write(b"hell").unwrap();
        let error = incoming.write(b"o!").unwrap_err();
        assert_eq!(error.to_string(), "the component is larger than 5 bytes");
        drop(incoming);

        let mut incoming = blobs.begin(5).unwrap();
        incoming.write(b"hullo").unwrap();
        let error = incoming.finish(&hello()).unwrap_err();
        assert!(matches!(error, BlobError::OtherDigest { expected, .. } if expected == hello()));
        assert_eq!(blobs.list().unwrap(), []);
        assert_eq!(incoming_files(&blobs), 0);
    }

    #[test]
    fn leftovers_of_a_crash_are_removed_at_start() {
        let dir = TempDir::new().unwrap();
        let mut incoming = open(&dir).begin(5).unwrap();
        incoming.write(b"hel").unwrap();
        std::mem::forget(incoming);
        assert_eq!(incoming_files(&open(&dir)), 0);
    }

    #[test]
    fn a_damaged_file_is_refused_and_mended_by_the_same_upload() {
        let dir = TempDir::new().unwrap();
        let blobs = open(&dir);
        store(&blobs, b"hello");
        let path = blobs.path(&hello());
        fs::write(&path, b"hallo").unwrap();
        let error = blobs.open_verified(&hello()).unwrap_err();
        assert!(matches!(error, BlobError::Damaged { .. }), "{error}");
        store(&blobs, b"hello");
        assert!(blobs.open_verified(&hello()).is_ok());
        fs::remove_file(path).unwrap();
        let error = blobs.open_verified(&hello()).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("there is no component sha-256:{HELLO}")
        );
    }

    #[test]
    fn only_what_nobody_refers_to_or_leases_is_collected() {
        let dir = TempDir::new().unwrap();
        let blobs = open(&dir);
        let referenced = store(&blobs, b"referenced").digest();
        let leased = store(&blobs, b"leased");
        let forgotten = store(&blobs, b"forgotten").digest();
        let collected = blobs.collect(|| HashSet::from([referenced])).unwrap();
        let wanted = Collected {
            removed: 1,
            removed_bytes: 9,
            kept: 2,
        };
        assert_eq!(collected, wanted);
        assert!(!blobs.contains(&forgotten));
        let digest = leased.digest();
        drop(leased);
        assert!(blobs.contains(&digest));
        blobs.collect(|| HashSet::from([referenced])).unwrap();
        assert_eq!(blobs.list().unwrap(), [(referenced, 10)]);
    }

    #[test]
    fn an_upload_that_commits_while_references_are_gathered_is_kept() {
        let dir = TempDir::new().unwrap();
        let blobs = open(&dir);
        let before = store(&blobs, b"leased before, given up during");
        let kept = [before.digest(), hello()];
        let collected = blobs
            .collect(|| {
                // Gathered without the two; both are committed and their leases given up right after.
                let references = HashSet::new();
                drop(before);
                drop(store(&blobs, b"hello"));
                assert_eq!(blobs.collect(HashSet::new).unwrap(), Collected::default());
                references
            })
            .unwrap();
        assert_eq!((collected.removed, collected.kept), (0, 2));
        assert!(kept.iter().all(|digest| blobs.contains(digest)));
        assert_eq!(blobs.collect(HashSet::new).unwrap().removed, 2);
    }

    #[test]
    fn too_little_space_is_refused_before_anything_is_written() {
        let dir = TempDir::new().unwrap();
        let blobs = Blobs::open(dir.path().join("components"), u64::MAX / 2).unwrap();
        let error = blobs.begin(1).unwrap_err();
        assert!(matches!(error, BlobError::NoSpace { .. }), "{error}");
        assert_eq!(incoming_files(&blobs), 0);
    }
}
