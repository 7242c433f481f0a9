//! What follows the native code in an artifact's file, and the check of the whole.
//!
//! The native code comes first, as wasmtime's ELF image: its section table is found from its header, so wasmtime maps
//! the file as it is. All numbers are little-endian.
//!
//! | Offset from the end | Bytes | Content |
//! | --- | --- | --- |
//! | 120 | 8 | `littoral` |
//! | 112 | 4 | format, 1 |
//! | 108 | 4 | length of this trailer, 120 |
//! | 104 | 8 | length of the native code |
//! | 96 | 32 | SHA-256 of the component |
//! | 64 | 32 | the engine's compatibility hash |
//! | 32 | 32 | HMAC-SHA256 over everything before it |

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use edge_config::Digest;

use super::ArtifactError;
use super::key::ArtifactKey;
use crate::artifact::name::CompatHash;

/// Length of the trailer.
pub(crate) const TRAILER_BYTES: usize = HEAD_BYTES + MAC_BYTES;
/// The same, as the trailer says it.
const TRAILER_BYTES_FIELD: u32 = 120;
const HEAD_BYTES: usize = 88;
const MAC_BYTES: usize = 32;
const MAGIC: [u8; 8] = *b"littoral";
const FORMAT: u32 = 1;
const _: () = assert!(TRAILER_BYTES == TRAILER_BYTES_FIELD as usize);
/// Read and authenticated at once.
const CHUNK_BYTES: usize = 64 << 10;

/// The part of the trailer that says what the file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) body_bytes: u64,
    pub(super) component: Digest,
    pub(super) compat: CompatHash,
}

impl Head {
    pub(super) fn to_bytes(self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        let fields: [&[u8]; 6] = [
            &MAGIC,
            &FORMAT.to_le_bytes(),
            &TRAILER_BYTES_FIELD.to_le_bytes(),
            &self.body_bytes.to_le_bytes(),
            self.component.as_bytes(),
            &self.compat.0,
        ];
        for (to, from) in bytes.iter_mut().zip(fields.into_iter().flatten()) {
            *to = *from;
        }
        bytes
    }
}

/// Authenticates a whole file of `file_bytes` through its descriptor.
///
/// What the trailer says is compared with what is expected only after the authentication, so that an answer other
/// than tampered or truncated is about bytes that this node wrote.
pub(super) fn verify(
    file: &File,
    file_bytes: u64,
    key: &ArtifactKey,
    component: &Digest,
    compat: &CompatHash,
) -> Result<(), ArtifactError> {
    let body_bytes = file_bytes
        .checked_sub(TRAILER_BYTES as u64)
        .ok_or(ArtifactError::Truncated)?;
    let mut trailer = [0; TRAILER_BYTES];
    read(file, &mut trailer, body_bytes)?;
    let (head, mac) = trailer.split_at(HEAD_BYTES);
    // A file that ends early ends in native code.
    if !head.starts_with(&MAGIC) {
        return Err(ArtifactError::Truncated);
    }
    let mut context = hmac::Context::with_key(&key.0);
    each_chunk(file, body_bytes, |chunk| {
        context.update(chunk);
        Ok(())
    })?;
    context.update(head);
    let tag = context.sign();
    if verify_slices_are_equal(tag.as_ref(), mac).is_err() {
        return Err(ArtifactError::Tampered {
            what: "it does not carry this node's authentication",
        });
    }
    let expected = Head {
        body_bytes,
        component: *component,
        compat: *compat,
    };
    if head == expected.to_bytes() {
        return Ok(());
    }
    let other_engine = head.get(..56) == expected.to_bytes().get(..56);
    Err(if other_engine {
        ArtifactError::OtherEngine
    } else {
        ArtifactError::Tampered {
            what: "it is another component's artifact",
        }
    })
}

/// Calls `each` with the first `bytes` bytes of a file, piece by piece.
pub(super) fn each_chunk(
    file: &File,
    bytes: u64,
    mut each: impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<(), ArtifactError> {
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut at = 0;
    while at < bytes {
        let left = usize::try_from(bytes - at).unwrap_or(usize::MAX);
        let take = left.min(CHUNK_BYTES);
        let Some(chunk) = buffer.get_mut(..take) else {
            break;
        };
        read(file, chunk, at)?;
        each(chunk)?;
        at += take as u64;
    }
    Ok(())
}

fn read(file: &File, buffer: &mut [u8], at: u64) -> Result<(), ArtifactError> {
    file.read_exact_at(buffer, at)
        .map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => ArtifactError::Truncated,
            _ => ArtifactError::Io(error),
        })
}
