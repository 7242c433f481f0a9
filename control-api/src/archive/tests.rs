//! Archives in memory: whole, and in every way not.

use edge_config::Digest;

use super::*;
use crate::view::SecretText;

fn component() -> (Digest, Vec<u8>) {
    let bytes: Vec<u8> = (0..40_000_u32).map(|i| (i % 251) as u8).collect();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bytes);
    let digest = Digest::from_bytes(digest.as_ref().try_into().unwrap());
    (digest, bytes)
}

fn pair(number: u32) -> Pair {
    Pair {
        tenant: "acme".into(),
        store: "default".into(),
        key: format!("key{number}"),
        value: vec![7; 3000],
    }
}

fn archive(passphrase: Option<&SecretText>) -> Vec<u8> {
    let (keys, sealing) = passphrase
        .map(|passphrase| PassphraseKeys::make(passphrase).unwrap())
        .unzip();
    let header = Header {
        littoral: "0.1.0".into(),
        node: "box".into(),
        created_at: 1_790_000_000,
        revision: 77,
        sealing,
    };
    let mut bytes = Vec::new();
    let mut writer = ArchiveWriter::begin(&mut bytes, &header, keys).unwrap();
    writer.record(b"ta", b"tenant").unwrap();
    writer.record(b"ka", b"").unwrap();
    for number in 0..200 {
        writer.pair(&pair(number)).unwrap();
    }
    for name in ["one.key", "other.key"] {
        writer.node_key(name, b"sealed").unwrap();
    }
    let (digest, component) = component();
    writer.component(&digest, component.len() as u64).unwrap();
    for part in component.chunks(9000) {
        writer.part(part).unwrap();
    }
    writer.database("acme", "ledger", false, 5000).unwrap();
    writer.part(&[7; 4000]).unwrap();
    writer.part(&[7; 1000]).unwrap();
    writer.database("acme", "ledger", true, 0).unwrap();
    writer.summary.leave_out("a secret".into());
    writer.finish().unwrap();
    bytes
}

fn passphrase(text: &str) -> SecretText {
    text.to_owned().into()
}

#[test]
fn what_was_written_is_read_and_counted() {
    let bytes = archive(None);
    let mut reader = ArchiveReader::open(&*bytes).unwrap();
    assert_eq!(reader.header().revision, 77);
    let (mut records, mut pairs, mut parts) = (Vec::new(), Vec::new(), Vec::new());
    let mut keys = Vec::new();
    let (mut databases, mut ended) = (Vec::new(), 0);
    while let Some(entry) = reader.next_entry().unwrap() {
        match entry {
            Entry::Records(more) => records.extend(more),
            Entry::Pairs(more) => pairs.extend(more),
            Entry::Part(more) => parts.extend(more),
            Entry::NodeKey { name, .. } => keys.push(name),
            Entry::Database {
                tenant,
                database,
                log,
                bytes,
            } => databases.push((tenant, database, log, bytes)),
            Entry::DatabaseEnd => ended += 1,
            Entry::Component { .. } | Entry::ComponentEnd => {}
        }
    }
    let ledger = |log, bytes| ("acme".to_owned(), "ledger".to_owned(), log, bytes);
    assert_eq!(databases, [ledger(false, 5000), ledger(true, 0)]);
    assert_eq!(ended, 2);
    assert_eq!(parts.split_off(component().1.len()), [7; 5000]);
    assert_eq!(
        records,
        [
            (b"ta".to_vec(), b"tenant".to_vec()),
            (b"ka".to_vec(), Vec::new())
        ]
    );
    assert_eq!(pairs, (0..200).map(pair).collect::<Vec<_>>());
    assert_eq!(parts, component().1);
    assert_eq!(keys, ["one.key", "other.key"]);
    let summary = reader.summary().unwrap();
    assert_eq!((summary.records, summary.pairs), (2, 200));
    assert_eq!((summary.databases, summary.database_bytes), (1, 5000));
    assert_eq!(summary.left_out, ["a secret"]);
    assert!(reader.next_entry().unwrap().is_none());
}

#[test]
fn one_that_is_cut_off_anywhere_is_said_to_be() {
    let bytes = archive(None);
    for length in (MAGIC.len()..bytes.len()).step_by(997) {
        let cut = &bytes[..length];
        let read = ArchiveReader::open(cut).and_then(ArchiveReader::verify);
        assert!(
            matches!(read, Err(ArchiveError::CutOff { bytes }) if bytes == length as u64),
            "{length}: {read:?}"
        );
    }
    let last = &bytes[..bytes.len() - 1];
    let read = ArchiveReader::open(last).and_then(ArchiveReader::verify);
    assert!(matches!(read, Err(ArchiveError::CutOff { .. })));
}

#[test]
fn one_that_is_altered_anywhere_is_refused() {
    let bytes = archive(None);
    for at in (0..bytes.len()).step_by(499) {
        let mut altered = bytes.clone();
        altered[at] ^= 0x10;
        let read = ArchiveReader::open(&*altered).and_then(ArchiveReader::verify);
        assert!(read.is_err(), "byte {at}");
    }
    let mut longer = bytes.clone();
    longer.push(0);
    let read = ArchiveReader::open(&*longer).and_then(ArchiveReader::verify);
    assert!(matches!(read, Err(ArchiveError::Altered { what, .. }) if what.contains("follow")));
    let read = ArchiveReader::open(&b"PK\x03\x04 something else"[..]).map(drop);
    assert!(matches!(read, Err(ArchiveError::NotAnArchive)));
    let mut newer = bytes;
    newer[MAGIC.len()] = 2;
    let read = ArchiveReader::open(&*newer).map(drop);
    assert!(matches!(read, Err(ArchiveError::Newer { found: 2 })));
}

#[test]
fn only_the_passphrase_opens_and_it_finds_a_digest_made_anew() {
    let right = passphrase("correct horse battery");
    let bytes = archive(Some(&right));
    let mut reader = ArchiveReader::open(&*bytes).unwrap();
    let wrong = reader.unlock(&passphrase("correct horse batterx"));
    assert!(matches!(wrong.err(), Some(ArchiveError::WrongPassphrase)));
    reader.unlock(&right).unwrap();
    reader.verify().unwrap();

    // A forger, who has no passphrase, alters a record and makes the digest anew.
    let mut forged = bytes;
    let ends_at = forged.len() - 64;
    let at = forged.windows(6).position(|six| six == b"tenant").unwrap();
    forged[at] = b'T';
    let sum = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &forged[..ends_at]);
    forged[ends_at..ends_at + 32].copy_from_slice(sum.as_ref());
    ArchiveReader::open(&*forged).unwrap().verify().unwrap();
    let mut reader = ArchiveReader::open(&*forged).unwrap();
    reader.unlock(&right).unwrap();
    let read = reader.verify();
    assert!(matches!(read, Err(ArchiveError::Altered { what, .. }) if what.contains("passphrase")));
}

#[test]
fn a_passphrase_has_a_length_and_an_archive_does_not_say_what_it_costs_at_will() {
    let short = PassphraseKeys::make(&passphrase("short")).err();
    assert!(matches!(
        short,
        Some(ArchiveError::PassphraseLength { bytes: 5 })
    ));
    let right = passphrase("correct horse battery");
    let (_, sealing) = PassphraseKeys::make(&right).unwrap();
    let mut json = serde_json::to_value(&sealing).unwrap();
    json["memory_kib"] = (1_u32 << 30).into();
    let costly: Sealing = serde_json::from_value(json).unwrap();
    let opened = PassphraseKeys::open(&right, &costly).err();
    assert!(matches!(
        opened,
        Some(ArchiveError::SealingTooCostly { .. })
    ));
    let mut plain = ArchiveReader::open(&*archive(None))
        .map(|reader| reader.header().clone())
        .unwrap();
    assert_eq!(plain.sealing.take(), None);
}

#[test]
fn one_that_the_node_broke_off_says_why() {
    let header = ArchiveReader::open(&*archive(None))
        .unwrap()
        .header()
        .clone();
    let mut bytes = Vec::new();
    let writer = ArchiveWriter::begin(&mut bytes, &header, None).unwrap();
    writer.break_off("the disk is gone").unwrap();
    let read = ArchiveReader::open(&*bytes).and_then(ArchiveReader::verify);
    assert!(matches!(read, Err(ArchiveError::BrokenOff { why }) if why == "the disk is gone"));
}
