//! Power loss: what a disk would hold had the power gone when a process was killed.
//!
//! [`Shim::build`] compiles `tests/powerloss/powerloss.c` once. [`Shim::watch`] takes a directory as it is now, all of
//! it durable. A process started with [`Watch::preload`] then leaves a log of what it did there, and
//! [`Watch::cut_power`] replaces the directory's contents with what survives:
//!
//! - contents of a file survive from its last sync on, and not before;
//! - a name (made, moved, removed) survives from the sync of its directory on, and not before;
//! - what was not synced is lost ([`Survival::Strict`]), or survives by the throw of a coin ([`Survival::Mixed`]):
//!   each name by its own coin, each write whole, not at all, or in some of its 512-byte sectors, in any order.
//!
//! Modes are not kept: what survives is its user's alone, as everything is that the daemon makes.
//!
//! The shim sees calls that go through libc, which `std::fs` does, and rustix as this project builds it. Made for whole
//! daemons as well as for small programs; every process with the variables set appends to the same log.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

const SOURCE: &str = include_str!("../powerloss/powerloss.c");
/// What a disk writes whole or not at all, in bytes.
const SECTOR_BYTES: usize = 512;

/// The compiled shim; its file goes when this is dropped.
pub struct Shim {
    dir: TempDir,
}

/// What becomes of that which was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survival {
    /// It is lost.
    Strict,
    /// Coins thrown from this seed decide.
    Mixed {
        /// The same seed throws the same coins.
        seed: u64,
    },
}

/// A directory that is watched from a known state on.
pub struct Watch {
    library: PathBuf,
    dir: PathBuf,
    log: PathBuf,
    disk: Disk,
}

impl Shim {
    /// Compiles the shim with the system's C compiler, `cc`.
    ///
    /// # Panics
    /// Without a C compiler, or where it refuses the source.
    #[must_use]
    pub fn build() -> Self {
        let dir = TempDir::new().expect("a temporary directory can be made");
        let mut compiler = Command::new("cc")
            .args([
                "-std=gnu11",
                "-O2",
                "-Wall",
                "-Wextra",
                "-Werror",
                "-fPIC",
                "-shared",
                "-x",
                "c",
                "-",
                "-o",
            ])
            .arg(dir.path().join("powerloss.so"))
            .arg("-pthread")
            .stdin(Stdio::piped())
            .spawn()
            .expect("the power-loss shim needs a C compiler, cc");
        let mut source = compiler.stdin.take().expect("stdin was asked for");
        source
            .write_all(SOURCE.as_bytes())
            .expect("cc reads its input");
        drop(source);
        let status = compiler.wait().expect("cc can be waited for");
        assert!(status.success(), "cc refuses the power-loss shim: {status}");
        Self { dir }
    }

    /// Watches `dir` from now on; everything in it counts as durable. Each round gets a fresh log.
    ///
    /// # Errors
    /// Where the directory cannot be read.
    pub fn watch(&self, dir: &Path) -> io::Result<Watch> {
        let dir = fs::canonicalize(dir)?;
        // One log for each watched directory, so that tests can run side by side.
        let log = self
            .dir
            .path()
            .join(format!("log-{}", dir.metadata()?.ino()));
        fs::write(&log, "")?;
        Ok(Watch {
            library: self.dir.path().join("powerloss.so"),
            disk: Disk::read(&dir)?,
            dir,
            log,
        })
    }
}

impl Watch {
    /// The variables to start a process with.
    #[must_use]
    pub fn variables(&self) -> [(&'static str, &Path); 3] {
        [
            ("LD_PRELOAD", &self.library),
            ("POWERLOSS_DIR", &self.dir),
            ("POWERLOSS_LOG", &self.log),
        ]
    }

    /// Starts `command` under the shim.
    pub fn preload<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.envs(self.variables())
    }

    /// Replaces what is in the directory by what survived. Every process that writes there must be gone.
    ///
    /// # Errors
    /// Where log or directory cannot be read or written, and where the log is not one.
    pub fn cut_power(mut self, survival: Survival) -> io::Result<()> {
        let log = fs::read(&self.log).map_err(|error| at(&self.log, error))?;
        self.disk.replay(&log)?;
        let tree = match survival {
            Survival::Strict => self.disk,
            Survival::Mixed { seed } => self.disk.toss(&mut Coins(seed)),
        };
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            let removed = if path.is_dir() {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            };
            removed.map_err(|error| at(&path, error))?;
        }
        tree.write(ROOT, &self.dir)
    }

    /// How many operations the log holds: bounds for `POWERLOSS_KILL_AT`.
    ///
    /// # Errors
    /// Where the log cannot be read.
    pub fn operations(&self) -> io::Result<usize> {
        Ok(records(&fs::read(&self.log)?).count())
    }
}

/// Coins from a seed (the splitmix64 generator), for tests that must be repeatable.
#[derive(Debug, Clone)]
pub struct Coins(pub u64);

impl Coins {
    /// Others at each run, from a seed that is printed.
    #[must_use]
    pub fn thrown() -> Self {
        let since = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .expect("the clock is past 1970");
        let seed = u64::try_from(since.as_nanos() % u128::from(u64::MAX)).unwrap_or(0);
        println!("seed {seed}");
        Self(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number below `end`, 0 where `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.bits().checked_rem(end).unwrap_or(0)
    }

    fn heads(&mut self) -> bool {
        self.bits() & 1 == 1
    }
}

type Node = usize;
const ROOT: Node = 0;

/// Files and directories, each with what is durable and what was done since.
#[derive(Debug, Default)]
struct Disk {
    nodes: Vec<Content>,
    /// The node an inode number stands for now.
    by_inode: HashMap<u64, Node>,
}

#[derive(Debug)]
enum Content {
    File {
        durable: Vec<u8>,
        pending: Vec<Edit>,
    },
    Dir {
        durable: BTreeMap<String, Node>,
        now: BTreeMap<String, Node>,
        /// Each is made durable whole: a rename within the directory is one.
        pending: Vec<Vec<(String, Option<Node>)>>,
    },
}

#[derive(Debug, Clone)]
enum Edit {
    Write { offset: usize, bytes: Vec<u8> },
    Resize { length: usize },
}

fn apply(bytes: &mut Vec<u8>, edit: &Edit) {
    match edit {
        Edit::Resize { length } => bytes.resize(*length, 0),
        Edit::Write { offset, bytes: new } => {
            let end = offset + new.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            if let Some(place) = bytes.get_mut(*offset..end) {
                place.copy_from_slice(new);
            }
        }
    }
}

fn rename_in(names: &mut BTreeMap<String, Node>, edits: &[(String, Option<Node>)]) {
    for (name, node) in edits {
        match node {
            Some(node) => names.insert(name.clone(), *node),
            None => names.remove(name),
        };
    }
}

fn at(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn bad_log(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the power-loss log {what}"),
    )
}

/// One record of the log: its kind and the rest.
fn records(log: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = log;
    // A torn record at the end is an operation that nobody heard of.
    std::iter::from_fn(move || {
        let (head, after) = rest.split_first_chunk::<8>()?;
        let [kind, _, _, _, length @ ..] = *head;
        let length = usize::try_from(u32::from_le_bytes(length)).ok()?;
        let (body, after) = after.split_at_checked(length)?;
        rest = after;
        Some((kind, body))
    })
}

/// What is left of a record.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn number(&mut self) -> io::Result<u64> {
        let (number, rest) = self
            .0
            .split_first_chunk::<8>()
            .ok_or_else(|| bad_log("has a record that is too short"))?;
        self.0 = rest;
        Ok(u64::from_le_bytes(*number))
    }

    fn size(&mut self) -> io::Result<usize> {
        usize::try_from(self.number()?).map_err(|_| bad_log("has a length beyond this machine"))
    }

    fn name(&mut self, length: usize) -> io::Result<String> {
        let (name, rest) = self
            .0
            .split_at_checked(length)
            .ok_or_else(|| bad_log("has a name that is too short"))?;
        self.0 = rest;
        String::from_utf8(name.to_vec()).map_err(|_| bad_log("has a name that is not UTF-8"))
    }

    fn last_name(&mut self) -> io::Result<String> {
        self.name(self.0.len())
    }
}

impl Disk {
    /// Takes a directory as it is, all of it durable.
    fn read(dir: &Path) -> io::Result<Self> {
        let mut disk = Self::default();
        disk.read_dir(dir)?;
        Ok(disk)
    }

    fn add(&mut self, inode: u64, content: Content) -> Node {
        self.nodes.push(content);
        let node = self.nodes.len() - 1;
        self.by_inode.insert(inode, node);
        node
    }

    fn read_dir(&mut self, dir: &Path) -> io::Result<Node> {
        let node = self.add(
            dir.metadata()?.ino(),
            Content::Dir {
                durable: BTreeMap::new(),
                now: BTreeMap::new(),
                pending: Vec::new(),
            },
        );
        let mut names = BTreeMap::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let path = entry.path();
            let child = if path.is_dir() {
                self.read_dir(&path)?
            } else {
                let durable = fs::read(&path)?;
                let pending = Vec::new();
                self.add(path.metadata()?.ino(), Content::File { durable, pending })
            };
            names.insert(entry.file_name().to_string_lossy().into_owned(), child);
        }
        if let Some(Content::Dir { durable, now, .. }) = self.nodes.get_mut(node) {
            durable.clone_from(&names);
            *now = names;
        }
        Ok(node)
    }

    fn replay(&mut self, log: &[u8]) -> io::Result<()> {
        for (kind, body) in records(log) {
            let mut fields = Fields(body);
            match kind {
                b'C' | b'D' => {
                    let (inode, parent) = (fields.number()?, fields.number()?);
                    let content = if kind == b'C' {
                        Content::File {
                            durable: Vec::new(),
                            pending: Vec::new(),
                        }
                    } else {
                        Content::Dir {
                            durable: BTreeMap::new(),
                            now: BTreeMap::new(),
                            pending: Vec::new(),
                        }
                    };
                    let node = self.add(inode, content);
                    let name = fields.last_name()?;
                    if !name.is_empty() {
                        self.rename(parent, vec![(name, Some(node))]);
                    }
                }
                b'A' => {
                    let (inode, parent) = (fields.number()?, fields.number()?);
                    let node = self.by_inode.get(&inode).copied();
                    let node = node.ok_or_else(|| bad_log("links a file it never saw"))?;
                    self.rename(parent, vec![(fields.last_name()?, Some(node))]);
                }
                b'U' => {
                    let parent = fields.number()?;
                    self.rename(parent, vec![(fields.last_name()?, None)]);
                }
                b'R' => {
                    let (from_dir, length) = (fields.number()?, fields.size()?);
                    let from = fields.name(length)?;
                    let (to_dir, to) = (fields.number()?, fields.last_name()?);
                    let node = self.look_up(from_dir, &from);
                    let node = node.ok_or_else(|| bad_log("renames what it never saw"))?;
                    if from_dir == to_dir {
                        self.rename(from_dir, vec![(from, None), (to, Some(node))]);
                    } else {
                        self.rename(from_dir, vec![(from, None)]);
                        self.rename(to_dir, vec![(to, Some(node))]);
                    }
                }
                b'W' => {
                    let (inode, offset) = (fields.number()?, fields.size()?);
                    let bytes = fields.0.to_vec();
                    self.edit(inode, Edit::Write { offset, bytes });
                }
                b'T' => {
                    let (inode, length) = (fields.number()?, fields.size()?);
                    self.edit(inode, Edit::Resize { length });
                }
                b'S' => {
                    let inode = fields.number()?;
                    if let Some(node) = self.by_inode.get(&inode) {
                        self.nodes
                            .get_mut(*node)
                            .into_iter()
                            .for_each(Content::sync);
                    }
                }
                b'Y' => self.nodes.iter_mut().for_each(Content::sync),
                _ => return Err(bad_log("has a record of no known kind")),
            }
        }
        Ok(())
    }

    fn look_up(&self, parent: u64, name: &str) -> Option<Node> {
        match self.nodes.get(*self.by_inode.get(&parent)?)? {
            Content::Dir { now, .. } => now.get(name).copied(),
            Content::File { .. } => None,
        }
    }

    fn rename(&mut self, parent: u64, edits: Vec<(String, Option<Node>)>) {
        let node = self.by_inode.get(&parent).copied();
        if let Some(Content::Dir { now, pending, .. }) =
            node.and_then(|node| self.nodes.get_mut(node))
        {
            rename_in(now, &edits);
            pending.push(edits);
        }
    }

    fn edit(&mut self, inode: u64, edit: Edit) {
        let node = self.by_inode.get(&inode).copied();
        if let Some(Content::File { pending, .. }) = node.and_then(|node| self.nodes.get_mut(node))
        {
            pending.push(edit);
        }
    }

    /// Lets coins decide over everything that is not durable.
    fn toss(mut self, coins: &mut Coins) -> Self {
        for content in &mut self.nodes {
            match content {
                Content::File { durable, pending } => {
                    // One file in three loses all, one keeps all, the third is at the mercy of its sectors.
                    let mood = coins.below(3);
                    for edit in std::mem::take(pending) {
                        match mood {
                            0 => {}
                            1 => apply(durable, &edit),
                            _ => toss_sectors(durable, &edit, coins),
                        }
                    }
                }
                Content::Dir {
                    durable, pending, ..
                } => {
                    for edits in std::mem::take(pending) {
                        if coins.heads() {
                            rename_in(durable, &edits);
                        }
                    }
                }
            }
        }
        self
    }

    /// Writes what is durable below `path`.
    fn write(&self, node: Node, path: &Path) -> io::Result<()> {
        match self.nodes.get(node) {
            Some(Content::File { durable, .. }) => File::options()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path)
                .and_then(|mut file| file.write_all(durable))
                .map_err(|error| at(path, error)),
            Some(Content::Dir { durable, .. }) => {
                if !path.is_dir() {
                    let private = DirBuilder::new().mode(0o700).create(path);
                    private.map_err(|error| at(path, error))?;
                }
                durable
                    .iter()
                    .try_for_each(|(name, child)| self.write(*child, &path.join(name)))
            }
            None => Err(bad_log("names a file that is not there")),
        }
    }
}

/// Some sectors of a write arrive, others do not; a resize does or does not.
fn toss_sectors(durable: &mut Vec<u8>, edit: &Edit, coins: &mut Coins) {
    match edit {
        Edit::Resize { .. } => {
            if coins.heads() {
                apply(durable, edit);
            }
        }
        Edit::Write { offset, bytes } => {
            let mut at = 0;
            while at < bytes.len() {
                let sector_end = (offset + at) / SECTOR_BYTES * SECTOR_BYTES + SECTOR_BYTES;
                let end = (sector_end - offset).min(bytes.len());
                if coins.heads() {
                    let part = Edit::Write {
                        offset: offset + at,
                        bytes: bytes.get(at..end).unwrap_or_default().to_vec(),
                    };
                    apply(durable, &part);
                }
                at = end;
            }
        }
    }
}

impl Content {
    fn sync(&mut self) {
        match self {
            Self::File { durable, pending } => {
                for edit in pending.drain(..) {
                    apply(durable, &edit);
                }
            }
            Self::Dir {
                durable, pending, ..
            } => {
                for edits in pending.drain(..) {
                    rename_in(durable, &edits);
                }
            }
        }
    }
}
