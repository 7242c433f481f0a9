//! The bytes of the export: journal frames and snapshot files.
//!
//! Takes byte slices, gives what they hold or says that they hold nothing whole. Never trusts a length before it is
//! within the slice, nor a body before its checksum holds. All numbers are little-endian.
//!
//! ```text
//! journal   header  8 magic, 8 base sequence number, 16 checksum of these
//!           frame   4 magic, 4 body length, 16 checksum of length and body, body (postcard, the changes of one group)
//! snapshot  header  8 magic, 8 sequence number, 8 entries, 8 body length
//!           entry   4 key length, 4 value length, key, value
//!           end     32 SHA-256 of all before
//! ```
//!
//! A frame is appended only after the one before it was synced. So a frame that does not read, with a whole one
//! somewhere behind it, is damage to acknowledged changes; one with nothing whole behind it is the torn end of a write
//! that nobody was told about.

use aws_lc_rs::digest::{Context, SHA256, digest};

use crate::store::contents::{Change, Contents};

const JOURNAL_MAGIC: [u8; 8] = *b"LITJRNL1";
const SNAPSHOT_MAGIC: [u8; 8] = *b"LITSNAP1";
const FRAME_MAGIC: [u8; 4] = *b"\xf5GRP";
/// SHA-256, cut: against torn and decayed bytes, not against forgers.
const CHECKSUM_BYTES: usize = 16;
const SNAPSHOT_HEADER_BYTES: usize = 32;
const SNAPSHOT_END_BYTES: usize = 32;
/// The journal's header.
pub(super) const JOURNAL_HEADER_BYTES: usize = 16 + CHECKSUM_BYTES;
const FRAME_HEADER_BYTES: usize = 8 + CHECKSUM_BYTES;

fn checksum(parts: &[&[u8]]) -> [u8; CHECKSUM_BYTES] {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    let mut cut = [0; CHECKSUM_BYTES];
    for (to, from) in cut.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    cut
}

fn take<const N: usize>(bytes: &[u8]) -> Option<([u8; N], &[u8])> {
    bytes
        .split_first_chunk::<N>()
        .map(|(head, rest)| (*head, rest))
}

/// The header of a journal that continues from `base_seq`.
pub(super) fn journal_header(base_seq: u64) -> Vec<u8> {
    let mut bytes = JOURNAL_MAGIC.to_vec();
    bytes.extend_from_slice(&base_seq.to_le_bytes());
    let sum = checksum(&[&bytes]);
    bytes.extend_from_slice(&sum);
    bytes
}

/// The frame of one group of changes; `None` where the group is larger than a frame can say.
pub(super) fn frame(changes: &[Change]) -> Option<Vec<u8>> {
    let body = postcard::to_stdvec(changes).ok()?;
    let length = u32::try_from(body.len()).ok()?.to_le_bytes();
    let mut bytes = Vec::with_capacity(FRAME_HEADER_BYTES + body.len());
    bytes.extend_from_slice(&FRAME_MAGIC);
    bytes.extend_from_slice(&length);
    bytes.extend_from_slice(&checksum(&[&length, &body]));
    bytes.extend_from_slice(&body);
    Some(bytes)
}

/// Reads one whole frame off the front.
fn take_frame(bytes: &[u8]) -> Option<(Vec<Change>, &[u8])> {
    let (magic, rest) = take::<4>(bytes)?;
    if magic != FRAME_MAGIC {
        return None;
    }
    let (length, rest) = take::<4>(rest)?;
    let (sum, rest) = take::<CHECKSUM_BYTES>(rest)?;
    let (body, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(length)).ok()?)?;
    if checksum(&[&length, body]) != sum {
        return None;
    }
    let changes = postcard::from_bytes(body).ok()?;
    Some((changes, rest))
}

/// What a journal file holds.
pub(super) struct Journal {
    /// The sequence number it continues from; `None` where the header does not read.
    pub(super) base_seq: Option<u64>,
    /// The whole groups at its front, in order.
    pub(super) groups: Vec<Vec<Change>>,
    /// Bytes behind the last whole group.
    pub(super) torn_bytes: u64,
    /// The highest sequence number of a whole group behind one that does not read: damage, not a torn end.
    pub(super) stranded_seq: Option<u64>,
}

impl Journal {
    /// The highest sequence number that can be read anywhere in the file.
    pub(super) fn highest_seq(&self) -> Option<u64> {
        let whole = self.groups.iter().flatten().map(|change| change.seq).max();
        whole.max(self.stranded_seq)
    }
}

/// Reads a journal file.
pub(super) fn read_journal(bytes: &[u8]) -> Journal {
    let header = (|| {
        let (magic, rest) = take::<8>(bytes)?;
        let (base, rest) = take::<8>(rest)?;
        let (sum, rest) = take::<CHECKSUM_BYTES>(rest)?;
        (magic == JOURNAL_MAGIC && sum == checksum(&[&magic, &base]))
            .then(|| (u64::from_le_bytes(base), rest))
    })();
    let (base_seq, mut rest) = match header {
        Some((base, rest)) => (Some(base), rest),
        None => (None, bytes),
    };
    let mut groups = Vec::new();
    if base_seq.is_some() {
        while let Some((changes, after)) = take_frame(rest) {
            groups.push(changes);
            rest = after;
        }
    }
    Journal {
        base_seq,
        groups,
        torn_bytes: rest.len() as u64,
        stranded_seq: highest_stranded(rest),
    }
}

/// Looks for whole frames behind one that does not read. Linear in the file but for the frames it finds.
fn highest_stranded(bytes: &[u8]) -> Option<u64> {
    let mut highest = None;
    let mut rest = bytes;
    while let Some(at) = rest
        .windows(FRAME_MAGIC.len())
        .position(|window| window == FRAME_MAGIC)
    {
        let found = rest.get(at..).unwrap_or_default();
        match take_frame(found) {
            Some((changes, after)) => {
                highest = highest.max(changes.iter().map(|change| change.seq).max());
                rest = after;
            }
            None => rest = found.get(1..).unwrap_or_default(),
        }
    }
    highest
}

/// The bytes of a snapshot file; `None` where an entry is larger than its length field can say.
pub(super) fn snapshot(seq: u64, contents: &Contents) -> Option<Vec<u8>> {
    let body_bytes = contents.bytes() + 8 * contents.0.len() as u64;
    let mut bytes = Vec::with_capacity(
        SNAPSHOT_HEADER_BYTES + usize::try_from(body_bytes).ok()? + SNAPSHOT_END_BYTES,
    );
    bytes.extend_from_slice(&SNAPSHOT_MAGIC);
    bytes.extend_from_slice(&seq.to_le_bytes());
    bytes.extend_from_slice(&(contents.0.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&body_bytes.to_le_bytes());
    for (key, value) in &contents.0 {
        bytes.extend_from_slice(&u32::try_from(key.len()).ok()?.to_le_bytes());
        bytes.extend_from_slice(&u32::try_from(value.len()).ok()?.to_le_bytes());
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(value);
    }
    let sum = digest(&SHA256, &bytes);
    bytes.extend_from_slice(sum.as_ref());
    Some(bytes)
}

/// Reads a snapshot file; `None` where it is not whole.
pub(super) fn read_snapshot(bytes: &[u8]) -> Option<(u64, Contents)> {
    let (content, sum) = bytes.split_at_checked(bytes.len().checked_sub(SNAPSHOT_END_BYTES)?)?;
    if digest(&SHA256, content).as_ref() != sum {
        return None;
    }
    let (magic, rest) = take::<8>(content)?;
    let (seq, rest) = take::<8>(rest)?;
    let (entries, rest) = take::<8>(rest)?;
    let (body_bytes, mut rest) = take::<8>(rest)?;
    if magic != SNAPSHOT_MAGIC || u64::from_le_bytes(body_bytes) != rest.len() as u64 {
        return None;
    }
    let mut contents = Contents::default();
    while !rest.is_empty() {
        let (key_bytes, after) = take::<4>(rest)?;
        let (value_bytes, after) = take::<4>(after)?;
        let (key, after) =
            after.split_at_checked(usize::try_from(u32::from_le_bytes(key_bytes)).ok()?)?;
        let (value, after) =
            after.split_at_checked(usize::try_from(u32::from_le_bytes(value_bytes)).ok()?)?;
        contents.0.insert(key.to_vec(), value.to_vec());
        rest = after;
    }
    (contents.0.len() as u64 == u64::from_le_bytes(entries))
        .then(|| (u64::from_le_bytes(seq), contents))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn change(seq: u64) -> Change {
        Change {
            seq,
            writes: vec![
                (vec![b't', 7], Some(seq.to_le_bytes().to_vec())),
                (vec![b'r'], None),
            ],
        }
    }

    fn journal(groups: &[&[u64]]) -> Vec<u8> {
        let mut bytes = journal_header(0);
        for group in groups {
            let changes: Vec<Change> = group.iter().map(|&seq| change(seq)).collect();
            bytes.extend(frame(&changes).unwrap());
        }
        bytes
    }

    #[test]
    fn a_journal_cut_at_any_byte_gives_its_whole_groups_and_no_damage() {
        let bytes = journal(&[&[1], &[2, 3], &[4]]);
        let ends: Vec<usize> = [
            &[][..],
            &[&[1_u64][..]],
            &[&[1], &[2, 3]],
            &[&[1], &[2, 3], &[4]],
        ]
        .iter()
        .map(|groups| journal(groups).len())
        .collect();
        for cut in 0..=bytes.len() {
            let read = read_journal(&bytes[..cut]);
            let whole = ends.iter().filter(|&&end| end <= cut).count();
            assert_eq!(read.base_seq.is_some(), whole > 0, "cut at {cut}");
            assert_eq!(read.groups.len(), whole.saturating_sub(1), "cut at {cut}");
            assert_eq!(read.stranded_seq, None, "cut at {cut}");
            let end = ends
                .iter()
                .filter(|&&end| end <= cut)
                .max()
                .copied()
                .unwrap_or(0);
            assert_eq!(read.torn_bytes, (cut - end) as u64, "cut at {cut}");
        }
    }

    #[test]
    fn a_flipped_bit_is_noticed_wherever_it_is() {
        let bytes = journal(&[&[1], &[2, 3], &[4]]);
        let last_starts = journal(&[&[1], &[2, 3]]).len();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                let read = read_journal(&damaged);
                assert!(read.torn_bytes > 0, "bit {bit} of byte {at} went unnoticed");
                assert_eq!(
                    read.stranded_seq.is_some(),
                    at < last_starts,
                    "bit {bit} of byte {at}"
                );
            }
        }
    }

    #[test]
    fn a_snapshot_that_is_not_whole_is_refused() {
        let contents = Contents([(vec![1], vec![2, 3]), (vec![4, 5], vec![])].into());
        let bytes = snapshot(9, &contents).unwrap();
        assert_eq!(read_snapshot(&bytes), Some((9, contents)));
        for cut in 0..bytes.len() {
            assert_eq!(read_snapshot(&bytes[..cut]), None, "cut at {cut}");
        }
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            assert_eq!(read_snapshot(&damaged), None, "byte {at}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let mut file = journal_header(3);
            file.extend(&bytes);
            prop_assert!(read_journal(&file).groups.is_empty());
            prop_assert_eq!(read_snapshot(&bytes), None);
        }
    }
}
