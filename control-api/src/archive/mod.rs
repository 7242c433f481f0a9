//! The archive that a node is moved in: what `littoral backup` writes and `littorald restore` reads.
//!
//! Takes and gives bytes in order, a piece at a time: an archive of any size passes through memory of a few pieces.
//! Promises that a reader says of an archive which was cut off, altered, written by a newer build or sealed under another
//! passphrase that it was, and that no reader gets to the end of one that is not whole. Knows nothing of what records and
//! pairs mean; that is the node's.
//!
//! ```text
//! "LITTORAL BACKUP\n"  format: u32                      all numbers little-endian
//! piece*               kind: u8  length: u32  payload   the first is the header, the last the summary
//! SHA-256 of all that is before it                      32 bytes
//! HMAC-SHA-256 of that digest                           32 bytes, where the archive is sealed under a passphrase
//! ```
//!
//! Anybody can compute the digest anew: it is against decay and cut-off copies. The second sum is against those who alter
//! an archive on purpose, and can be made and checked by who has the passphrase alone.

mod passphrase;
mod read;
#[cfg(test)]
mod tests;
mod write;

use std::io;

use edge_config::Digest;
use serde::{Deserialize, Serialize};

pub use passphrase::{
    PASSPHRASE_BYTES_MAX, PASSPHRASE_BYTES_MIN, PassphraseKeys, Sealing, read_passphrase,
};
pub use read::ArchiveReader;
pub use write::ArchiveWriter;

/// How an archive begins.
const MAGIC: &[u8; 16] = b"LITTORAL BACKUP\n";
/// The layout that this build writes, and the newest that it reads.
pub const FORMAT: u32 = 1;
/// The largest payload of a piece, in bytes: a value of the largest size that a store takes (4 MiB), and its names.
pub const PIECE_BYTES_MAX: usize = 5 << 20;
/// Records and pairs are put together up to so many bytes a piece.
pub const BATCH_BYTES: usize = 256 << 10;
/// A component's bytes in one piece.
pub const PART_BYTES: usize = 256 << 10;
/// What was left out is named up to so many times; beyond that it is counted.
pub const LEFT_OUT_NAMED_MAX: usize = 100;

/// Where an archive comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// The release that wrote it.
    pub littoral: String,
    /// The node's name.
    pub node: String,
    /// When it was begun, in seconds since 1970-01-01 UTC.
    pub created_at: u64,
    /// The number of the last change that is in it.
    pub revision: u64,
    /// How secrets are sealed; without it there are none in the archive.
    pub sealing: Option<Sealing>,
}

/// What an archive holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// Records of the control state, the audit log included.
    pub records: u64,
    /// Components.
    pub components: u64,
    /// Their bytes.
    pub component_bytes: u64,
    /// Pairs of key-value stores.
    pub pairs: u64,
    /// SQL databases.
    pub databases: u64,
    /// The bytes of their files.
    pub database_bytes: u64,
    /// Secrets: private keys of certificates, secret variables, the node's own admin key.
    pub secrets: u64,
    /// What the node has and the archive has not, and why: the first [`LEFT_OUT_NAMED_MAX`].
    pub left_out: Vec<String>,
    /// How many things were left out in all.
    pub left_out_count: u64,
}

impl Summary {
    /// Notes something that is not in the archive.
    pub fn leave_out(&mut self, what: String) {
        self.left_out_count += 1;
        if self.left_out.len() < LEFT_OUT_NAMED_MAX {
            self.left_out.push(what);
        }
    }
}

/// A key of a key-value store and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The tenant.
    pub tenant: String,
    /// Its store.
    pub store: String,
    /// The key.
    pub key: String,
    /// The value.
    pub value: Vec<u8>,
}

/// A key and its value, as the node's store has them.
pub type StoredRecord = (Vec<u8>, Vec<u8>);

/// What comes next in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// Records of the control state.
    Records(Vec<StoredRecord>),
    /// Pairs of key-value stores, in order of tenant, store and key.
    Pairs(Vec<Pair>),
    /// A file with a key of the node's own, sealed under the passphrase.
    NodeKey {
        /// The file's name.
        name: String,
        /// Its contents, sealed.
        sealed: Vec<u8>,
    },
    /// A component begins; its parts follow.
    Component {
        /// Its digest.
        digest: Digest,
        /// Its length in bytes.
        bytes: u64,
    },
    /// A file of an SQL database begins; its parts follow. One that comes again is to be taken instead of the first.
    Database {
        /// The tenant.
        tenant: String,
        /// The database.
        database: String,
        /// Whether it is the database's log.
        log: bool,
        /// Its length in bytes.
        bytes: u64,
    },
    /// The next bytes of the component or the database.
    Part(Vec<u8>),
    /// The component is whole, and its digest the one that was announced.
    ComponentEnd,
    /// The database's file is whole.
    DatabaseEnd,
}

/// Kinds of pieces.
mod kind {
    pub(super) const HEADER: u8 = b'h';
    pub(super) const RECORDS: u8 = b'r';
    pub(super) const PAIRS: u8 = b'p';
    pub(super) const NODE_KEY: u8 = b'k';
    pub(super) const COMPONENT: u8 = b'c';
    pub(super) const DATABASE: u8 = b'd';
    pub(super) const PART: u8 = b'b';
    pub(super) const SUMMARY: u8 = b'e';
    pub(super) const BROKEN_OFF: u8 = b'x';
}

/// Why an archive cannot be written or is not to be used.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It cannot be read or written.
    #[error("the archive cannot be read or written")]
    Io(#[source] io::Error),
    /// It begins as none does.
    #[error("this is no archive of `littoral backup`: it does not begin as one")]
    NotAnArchive,
    /// Of a newer layout.
    #[error(
        "the archive has format {found}; this build reads up to {FORMAT}: use the release that wrote it, or a newer one"
    )]
    Newer {
        /// Its layout.
        found: u32,
    },
    /// It ends in the middle.
    #[error("the archive is cut off: it ends after {bytes} bytes, in the middle")]
    CutOff {
        /// Its length.
        bytes: u64,
    },
    /// The node gave up while it wrote.
    #[error("the node broke the archive off: {why}")]
    BrokenOff {
        /// What the node said.
        why: String,
    },
    /// A sum does not match, or something is where it cannot be.
    #[error("the archive was altered or has decayed: {what}, at byte {at}")]
    Altered {
        /// What does not fit.
        what: String,
        /// Where it was noticed.
        at: u64,
    },
    /// A piece that is too large is to be written.
    #[error("a piece of {bytes} bytes does not fit an archive; at most {PIECE_BYTES_MAX} do")]
    PieceTooLarge {
        /// Its size.
        bytes: usize,
    },
    /// The passphrase's file cannot be read.
    #[error("the passphrase cannot be read")]
    Passphrase(#[source] io::Error),
    /// A passphrase of another length.
    #[error(
        "the passphrase has {bytes} bytes; allowed: {PASSPHRASE_BYTES_MIN} to {PASSPHRASE_BYTES_MAX}"
    )]
    PassphraseLength {
        /// Its length.
        bytes: usize,
    },
    /// Sealed, and no passphrase was given.
    #[error("the archive holds secrets that are sealed under a passphrase: it is needed")]
    PassphraseNeeded,
    /// Not sealed, and a passphrase was given.
    #[error("the archive holds no secrets: it was written without a passphrase, and needs none")]
    NotSealed,
    /// Sealed under another passphrase.
    #[error("the passphrase is not the one that the archive is sealed under")]
    WrongPassphrase,
    /// How it says it is sealed would cost more than any archive does.
    #[error(
        "the archive says that its passphrase costs {memory_kib} KiB and {passes} passes, more than any does"
    )]
    SealingTooCostly {
        /// Memory.
        memory_kib: u32,
        /// Passes.
        passes: u32,
    },
    /// There are no random bytes, or nothing can be derived.
    #[error("no key can be made from the passphrase: {why}")]
    NoKey {
        /// Why.
        why: String,
    },
}
