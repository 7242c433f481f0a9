//! The files that were deployed with a component, as `wasi:filesystem` 0.2 shows them: one folder, `/`, to read.
//!
//! Nothing here opens a path of the box. Control passes the stored upload as an open file; its index makes a tree in
//! memory, and contents are read from that file where a guest asks for them. There are no links, so that there is nothing
//! to follow, and `..` leads no further up than to the folder that a guest has open. All that would change something
//! answers `read-only`.

mod wasi;

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;

use control_api::files::{FilesError, Index};
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorStat, DescriptorType, ErrorCode, MetadataHashValue,
};

/// Most bytes in one read.
const READ_BYTES_MAX: u64 = 64 << 10;
/// What a name in a folder takes beside its text, in bytes.
const NAME_BYTES: usize = 32;
/// The folder that guests see first.
const ROOT: usize = 0;

/// A component's files; shared by all its instances.
pub struct Files {
    upload: File,
    data_at: u64,
    /// The first is the root.
    nodes: Vec<Node>,
}

struct Node {
    above: usize,
    what: What,
}

enum What {
    Folder(BTreeMap<Box<str>, usize>),
    File { offset: u64, bytes: u64 },
}

impl Files {
    /// Those of an upload that is open; `None` where it has none.
    ///
    /// # Errors
    /// [`FilesError`]
    pub fn of(upload: OwnedFd) -> Result<Option<Self>, FilesError> {
        let upload = File::from(upload);
        let length = upload.metadata()?.len();
        let index = Index::read(length, |buffer, at| upload.read_exact_at(buffer, at))?;
        Ok(index.map(|index| Self::new(upload, index)))
    }

    /// About what its tree takes in memory, in bytes.
    #[must_use]
    pub fn index_bytes(&self) -> u64 {
        let names = self.nodes.iter().map(|node| match &node.what {
            What::Folder(names) => names.keys().map(|name| NAME_BYTES + name.len()).sum(),
            What::File { .. } => 0,
        });
        (names.sum::<usize>() + self.nodes.len() * size_of::<Node>()) as u64
    }

    fn new(upload: File, index: Index) -> Self {
        let mut files = Self {
            upload,
            data_at: index.data_at,
            nodes: vec![Node {
                above: ROOT,
                what: What::Folder(BTreeMap::new()),
            }],
        };
        for entry in index.entries {
            let mut at = ROOT;
            let mut parts = entry.path.split('/').peekable();
            while let Some(part) = parts.next() {
                let what = if parts.peek().is_some() {
                    What::Folder(BTreeMap::new())
                } else {
                    What::File {
                        offset: entry.offset,
                        bytes: entry.bytes,
                    }
                };
                at = files.child(at, part, what);
            }
        }
        files
    }

    /// The node of a name in a folder, made where it is not there.
    fn child(&mut self, folder: usize, name: &str, what: What) -> usize {
        let next = self.nodes.len();
        let Some(Node {
            what: What::Folder(names),
            ..
        }) = self.nodes.get_mut(folder)
        else {
            // An index has no file that is a folder too.
            return folder;
        };
        if let Some(there) = names.get(name) {
            return *there;
        }
        names.insert(name.into(), next);
        let above = folder;
        self.nodes.push(Node { above, what });
        next
    }

    fn what(&self, node: usize) -> Result<&What, ErrorCode> {
        let node = self.nodes.get(node).ok_or(ErrorCode::BadDescriptor)?;
        Ok(&node.what)
    }

    /// What a path leads to from an open folder.
    fn find(&self, from: usize, path: &str) -> Result<usize, ErrorCode> {
        if path.is_empty() {
            return Err(ErrorCode::NoEntry);
        }
        if path.starts_with('/') {
            return Err(ErrorCode::NotPermitted);
        }
        let mut at = from;
        for part in path.split('/') {
            let What::Folder(names) = self.what(at)? else {
                return Err(ErrorCode::NotDirectory);
            };
            at = match part {
                "" | "." => at,
                ".." if at == from => return Err(ErrorCode::NotPermitted),
                ".." => self.nodes.get(at).map_or(ROOT, |node| node.above),
                name => *names.get(name).ok_or(ErrorCode::NoEntry)?,
            };
        }
        Ok(at)
    }

    /// Bytes of a file from an offset on, at most `length`; none at its end.
    fn read(&self, node: usize, offset: u64, length: u64) -> Result<Vec<u8>, ErrorCode> {
        let What::File {
            offset: begins,
            bytes,
        } = self.what(node)?
        else {
            return Err(ErrorCode::IsDirectory);
        };
        let left = bytes.saturating_sub(offset).min(length).min(READ_BYTES_MAX);
        let mut read = vec![0; usize::try_from(left).unwrap_or(0)];
        if !read.is_empty() {
            let at = self.data_at + begins + offset;
            let all = self.upload.read_exact_at(&mut read, at);
            all.map_err(|_| ErrorCode::Io)?;
        }
        Ok(read)
    }

    fn length(&self, node: usize) -> Result<u64, ErrorCode> {
        Ok(match self.what(node)? {
            What::Folder(_) => 0,
            What::File { bytes, .. } => *bytes,
        })
    }

    fn kind(&self, node: usize) -> Result<DescriptorType, ErrorCode> {
        Ok(match self.what(node)? {
            What::Folder(_) => DescriptorType::Directory,
            What::File { .. } => DescriptorType::RegularFile,
        })
    }

    fn stat(&self, node: usize) -> Result<DescriptorStat, ErrorCode> {
        Ok(DescriptorStat {
            type_: self.kind(node)?,
            link_count: 1,
            size: self.length(node)?,
            data_access_timestamp: None,
            data_modification_timestamp: None,
            status_change_timestamp: None,
        })
    }

    fn hash(&self, node: usize) -> Result<MetadataHashValue, ErrorCode> {
        // Files never change, and differ by where they are.
        Ok(MetadataHashValue {
            lower: node as u64,
            upper: self.length(node)?,
        })
    }
}
