//! Files that are deployed with a component: behind it in the same upload, so that its digest and its publisher's statement
//! cover them.
//!
//! They are a custom section named [`SECTION`], the last of the upload, which WebAssembly tools pass over: the contents one
//! behind the other, an index in JSON, and 20 bytes that say how long both are. Whoever wants one file reads the end and
//! then that file, and no more.

use std::collections::HashSet;
use std::io;

use serde::{Deserialize, Serialize};

/// The name of the custom section.
pub const SECTION: &str = "littoral:files";
/// Most files.
pub const FILES_MAX: usize = 4096;
/// Longest path, in bytes.
pub const PATH_BYTES_MAX: usize = 1024;
/// Most parts of a path.
const PATH_PARTS_MAX: usize = 32;
/// Longest index, in bytes.
const INDEX_BYTES_MAX: u64 = 2 << 20;
/// At the very end; the digit is the version of the layout.
const MAGIC: [u8; 8] = *b"littorF1";
/// The lengths of contents (8 bytes) and index (4), little endian, and [`MAGIC`].
const TRAILER_BYTES: u64 = 20;
/// What a path may be.
const ALLOWED: &str = "1 to 1024 bytes of at most 32 parts with '/' between them, none of them empty, \".\" or \"..\", \
                       without zero bytes";

/// Why files cannot be deployed, or are none.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// There are too many.
    #[error("there are {count} files; allowed: {FILES_MAX}")]
    TooMany {
        /// How many.
        count: usize,
    },
    /// A path that no file may have.
    #[error("{path:?} is no path of a file; allowed: {ALLOWED}")]
    Path {
        /// The path.
        path: String,
    },
    /// A path that two files have, or a file and a folder.
    #[error("{path:?} is there twice, or is a file and a folder")]
    Twice {
        /// The path.
        path: String,
    },
    /// More than a section can have.
    #[error("the files have {bytes} bytes together; allowed: less than 4 GiB")]
    TooLong {
        /// How many.
        bytes: u64,
    },
    /// The end of the upload is not what it says.
    #[error("the files behind the component are damaged: {0}")]
    Damaged(String),
    /// Reading failed.
    #[error("the files cannot be read")]
    Io(#[from] io::Error),
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its path, from the root of what guests see, without a '/' before it.
    pub path: String,
    /// Where it begins, behind where the contents begin.
    pub offset: u64,
    /// Its length.
    pub bytes: u64,
}

/// What files there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// In order of path.
    pub entries: Vec<Entry>,
    /// Where the contents begin in the upload.
    pub data_at: u64,
}

/// A component with files behind it, which are by path.
///
/// # Errors
/// [`FilesError`], for what no node takes.
pub fn with_files(
    mut component: Vec<u8>,
    files: impl IntoIterator<Item = (String, Vec<u8>)>,
) -> Result<Vec<u8>, FilesError> {
    let mut files: Vec<_> = files.into_iter().collect();
    files.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    let (mut entries, mut offset) = (Vec::new(), 0);
    for (path, content) in &files {
        let bytes = content.len() as u64;
        entries.push(Entry {
            path: path.clone(),
            offset,
            bytes,
        });
        offset += bytes;
    }
    check(&entries, offset)?;
    let index = serde_json::to_vec(&entries).map_err(io::Error::from)?;
    let too_long = || FilesError::TooLong { bytes: offset };
    let index_bytes = u32::try_from(index.len()).map_err(|_| too_long())?;
    let name = SECTION.as_bytes();
    // The name's length fits in one byte.
    let payload = 1 + name.len() as u64 + offset + u64::from(index_bytes) + TRAILER_BYTES;
    let payload = u32::try_from(payload).map_err(|_| too_long())?;
    component.push(0);
    leb128(payload, &mut component);
    component.push(u8::try_from(name.len()).unwrap_or(0));
    component.extend_from_slice(name);
    for (_, content) in &files {
        component.extend_from_slice(content);
    }
    component.extend_from_slice(&index);
    component.extend_from_slice(&offset.to_le_bytes());
    component.extend_from_slice(&index_bytes.to_le_bytes());
    component.extend_from_slice(&MAGIC);
    Ok(component)
}

/// Whether an upload with this end has files: its last 8 bytes say so.
#[must_use]
pub fn says_so(end: &[u8]) -> bool {
    end.ends_with(&MAGIC)
}

impl Index {
    /// Reads what files an upload of `length` bytes has; `None` where it has none.
    ///
    /// # Errors
    /// [`FilesError`] for an end that is damaged, or hostile: whatever it says, all entries lie within the upload.
    pub fn read(
        length: u64,
        read_at: impl Fn(&mut [u8], u64) -> io::Result<()>,
    ) -> Result<Option<Self>, FilesError> {
        let Some(trailer_at) = length.checked_sub(TRAILER_BYTES) else {
            return Ok(None);
        };
        let (mut data, mut index, mut magic) = ([0; 8], [0; 4], [0; 8]);
        read_at(&mut magic, trailer_at + 12)?;
        if magic != MAGIC {
            return Ok(None);
        }
        read_at(&mut data, trailer_at)?;
        read_at(&mut index, trailer_at + 8)?;
        let (data_bytes, index_bytes) = (
            u64::from_le_bytes(data),
            u64::from(u32::from_le_bytes(index)),
        );
        let damaged = |why: String| FilesError::Damaged(why);
        if index_bytes > INDEX_BYTES_MAX {
            let why = format!("an index of {index_bytes} bytes; allowed: {INDEX_BYTES_MAX}");
            return Err(damaged(why));
        }
        let index_at = trailer_at.checked_sub(index_bytes);
        let data_at = index_at.and_then(|at| at.checked_sub(data_bytes));
        let (Some(index_at), Some(data_at)) = (index_at, data_at) else {
            return Err(damaged("they would begin before the upload".to_owned()));
        };
        let mut text = vec![0; usize::try_from(index_bytes).unwrap_or(0)];
        read_at(&mut text, index_at)?;
        let entries: Vec<Entry> =
            serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        check(&entries, data_bytes)?;
        Ok(Some(Self { entries, data_at }))
    }
}

/// All rules that entries obey.
fn check(entries: &[Entry], data_bytes: u64) -> Result<(), FilesError> {
    if entries.len() > FILES_MAX {
        let count = entries.len();
        return Err(FilesError::TooMany { count });
    }
    let mut paths = HashSet::new();
    for Entry {
        path,
        offset,
        bytes,
    } in entries
    {
        if !is_path(path) {
            return Err(FilesError::Path { path: path.clone() });
        }
        if offset
            .checked_add(*bytes)
            .is_none_or(|end| end > data_bytes)
        {
            let why = format!("{path:?} lies beyond the end of the contents");
            return Err(FilesError::Damaged(why));
        }
        if !paths.insert(path.as_str()) {
            return Err(FilesError::Twice { path: path.clone() });
        }
    }
    for entry in entries {
        let mut folder = entry.path.as_str();
        while let Some((above, _)) = folder.rsplit_once('/') {
            if paths.contains(above) {
                let path = above.to_owned();
                return Err(FilesError::Twice { path });
            }
            folder = above;
        }
    }
    Ok(())
}

/// Whether it is a path that a file may have.
#[must_use]
pub fn is_path(path: &str) -> bool {
    let is_part = |part: &str| !part.is_empty() && part != "." && part != "..";
    path.len() <= PATH_BYTES_MAX
        && !path.contains('\0')
        && path.split('/').all(is_part)
        && path.split('/').count() <= PATH_PARTS_MAX
}

/// As WebAssembly writes numbers.
fn leb128(mut number: u32, to: &mut Vec<u8>) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            to.push(low & 0x7f);
            return;
        }
        to.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(upload: &[u8]) -> Result<Option<Index>, FilesError> {
        Index::read(upload.len() as u64, |buffer, at| {
            let at = usize::try_from(at).unwrap();
            buffer.copy_from_slice(&upload[at..at + buffer.len()]);
            Ok(())
        })
    }

    fn file(path: &str, content: &str) -> (String, Vec<u8>) {
        (path.to_owned(), content.as_bytes().to_vec())
    }

    const EMPTY: [u8; 8] = *b"\0asm\x0d\0\x01\0";

    #[test]
    fn what_is_put_behind_a_component_is_found_there() {
        let files = [
            file("b/c.txt", "see"),
            file("a", ""),
            file("b/a.txt", "hey"),
        ];
        let upload = with_files(EMPTY.to_vec(), files).unwrap();
        let index = read(&upload).unwrap().unwrap();
        let found: Vec<_> = index
            .entries
            .iter()
            .map(|entry| {
                let at = usize::try_from(index.data_at + entry.offset).unwrap();
                let end = at + usize::try_from(entry.bytes).unwrap();
                (
                    entry.path.as_str(),
                    std::str::from_utf8(&upload[at..end]).unwrap(),
                )
            })
            .collect();
        assert_eq!(found, [("a", ""), ("b/a.txt", "hey"), ("b/c.txt", "see")]);
        assert!(says_so(&upload) && !says_so(&EMPTY));
        assert_eq!(read(&EMPTY).unwrap(), None);
        assert_eq!(read(b"").unwrap(), None);
        // It is one custom section, to the end.
        assert_eq!(upload[8], 0);
        let length = usize::from(upload[9] & 0x7f) | (usize::from(upload[10]) << 7);
        assert_eq!(upload.len() - 11, length);
    }

    #[test]
    fn what_no_file_may_be_is_named() {
        for (files, why) in [
            (vec![file("../x", "")], "\"../x\" is no path of a file"),
            (vec![file("/x", "")], "\"/x\" is no path of a file"),
            (vec![file("a//b", "")], "\"a//b\" is no path of a file"),
            (vec![file("", "")], "\"\" is no path of a file"),
            (vec![file("a\0", "")], "is no path of a file"),
            (vec![file("a", ""), file("a", "")], "\"a\" is there twice"),
            (
                vec![file("a", ""), file("a/b/c", "")],
                "\"a\" is there twice, or is a file and a folder",
            ),
            (
                (0..4097).map(|n| file(&n.to_string(), "")).collect(),
                "there are 4097 files; allowed: 4096",
            ),
        ] {
            let said = with_files(EMPTY.to_vec(), files).unwrap_err().to_string();
            assert!(said.starts_with(why) || said.contains(why), "{said}");
        }
    }

    #[test]
    fn an_end_that_lies_is_refused_whatever_it_says() {
        let good = with_files(EMPTY.to_vec(), [file("a", "hey")]).unwrap();
        let index = br#"[{"path":"a","offset":0,"bytes":4}]"#;
        let with = |index: &[u8], data: u64, bytes: u32| {
            let mut upload = index.to_vec();
            upload.extend_from_slice(&data.to_le_bytes());
            upload.extend_from_slice(&bytes.to_le_bytes());
            upload.extend_from_slice(&MAGIC);
            upload
        };
        for upload in [
            with(index, 0, u32::try_from(index.len()).unwrap()),
            with(index, u64::MAX, u32::try_from(index.len()).unwrap()),
            with(index, 0, u32::MAX),
            with(b"[{]", 0, 3),
            with(
                br#"[{"path":"a","offset":18446744073709551615,"bytes":1}]"#,
                0,
                54,
            ),
            good[good.len() - 25..].to_vec(),
        ] {
            assert!(read(&upload).is_err(), "{upload:?}");
        }
        for length in 0..good.len() {
            // Cut at its beginning and at its end, it is read as something or refused.
            let _ = read(&good[length..]);
            let _ = read(&good[..length]);
        }
    }
}
