use std::fs::{self, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::thread;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

const BOUNDS: CacheBounds = CacheBounds {
    total_bytes_max: 10 << 20,
    artifact_bytes_max: 1 << 20,
    artifacts_max: 100,
};
const COMPAT: CompatHash = CompatHash([7; 32]);
const COMPONENT: Digest = Digest::from_bytes([1; 32]);

/// Does harm to a stored file.
type Spoil<'a> = &'a dyn Fn(&Path);

struct Node {
    dir: TempDir,
    cache: ArtifactCache,
}

impl Node {
    fn new() -> Self {
        Self::with(BOUNDS)
    }

    fn with(bounds: CacheBounds) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let cache = open(dir.path(), COMPAT, bounds);
        Self { dir, cache }
    }

    fn store(&self, component: Digest, native: &[u8]) -> Committed {
        store(&self.cache, component, native, &|_| true).unwrap()
    }

    fn path(&self, name: &ArtifactName) -> PathBuf {
        let (folder, file) = place(name);
        self.dir.path().join("artifacts").join(folder).join(file)
    }

    fn open_again(&self, compat: CompatHash) -> ArtifactCache {
        open(self.dir.path(), compat, BOUNDS)
    }

    fn set_aside(&self) -> usize {
        fs::read_dir(self.dir.path().join("artifacts/set-aside"))
            .unwrap()
            .count()
    }
}

fn open(dir: &Path, compat: CompatHash, bounds: CacheBounds) -> ArtifactCache {
    let key = ArtifactKey::open_or_create(&dir.join("keys")).unwrap();
    ArtifactCache::open(&dir.join("artifacts"), key, compat, bounds).unwrap()
}

fn store(
    cache: &ArtifactCache,
    component: Digest,
    native: &[u8],
    is_referenced: &dyn Fn(&ArtifactName) -> bool,
) -> Result<Committed, CommitError> {
    let mut draft = cache.begin().unwrap();
    draft.write_all(native).unwrap();
    cache.commit(&draft, native.len() as u64, &component, is_referenced)
}

fn digest(i: usize) -> Digest {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&(i as u64).to_le_bytes());
    Digest::from_bytes(bytes)
}

#[test]
fn what_was_stored_comes_back_through_a_descriptor_that_cannot_write() {
    let node = Node::new();
    let native: Vec<u8> = (0..200_000_u32)
        .map(|i| u8::try_from(i % 251).unwrap())
        .collect();
    let stored = node.store(COMPONENT, &native);
    assert!(!stored.was_there);
    let mut file = node.cache.open_verified(&stored.name, &COMPONENT).unwrap();
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len() as u64, stored.file_bytes);
    assert_eq!(&bytes[..native.len()], native);
    assert!(file.write_all(b"x").is_err());
    let metadata = file.metadata().unwrap();
    assert_eq!((metadata.mode() & 0o777, metadata.nlink()), (0o400, 1));
    // Nothing else lies around, and the next start still accepts it.
    let again = node.open_again(COMPAT);
    assert!(again.open_verified(&stored.name, &COMPONENT).is_ok());
    assert_eq!(again.usage().unwrap(), (1, stored.file_bytes));
    assert_eq!(
        fs::read_dir(node.dir.path().join("artifacts/unfinished"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn the_trailer_lies_as_its_table_says() {
    let node = Node::new();
    let stored = node.store(COMPONENT, b"native");
    let bytes = fs::read(node.path(&stored.name)).unwrap();
    let from_end = |offset: usize, length: usize| &bytes[bytes.len() - offset..][..length];
    assert_eq!(from_end(120, 8), b"littoral");
    assert_eq!(from_end(112, 4), 1_u32.to_le_bytes());
    assert_eq!(from_end(108, 4), 120_u32.to_le_bytes());
    assert_eq!(from_end(104, 8), 6_u64.to_le_bytes());
    assert_eq!(from_end(96, 32), COMPONENT.as_bytes());
    assert_eq!(from_end(64, 32), COMPAT.0);
    assert_eq!(bytes.len(), 6 + 120);
}

#[test]
fn a_flipped_bit_anywhere_is_noticed_and_the_file_set_aside() {
    let node = Node::new();
    let native = [0xA5; 300];
    for at in 0..300 + TRAILER_BYTES {
        let stored = node.store(COMPONENT, &native);
        assert!(!stored.was_there, "byte {at}");
        change(&node.path(&stored.name), |bytes| bytes[at] ^= 1 << (at % 8));
        let error = node
            .cache
            .open_verified(&stored.name, &COMPONENT)
            .unwrap_err();
        let in_magic = (300..308).contains(&at);
        match error {
            ArtifactError::Truncated if in_magic => {}
            ArtifactError::Tampered { .. } if !in_magic => {}
            other => panic!("byte {at}: {other:?}"),
        }
        assert!(matches!(
            node.cache.open_verified(&stored.name, &COMPONENT),
            Err(ArtifactError::Missing)
        ));
    }
    let counts = node.cache.counts();
    assert_eq!((counts.tampered, counts.truncated), (412, 8));
    assert_eq!(
        (counts.committed, counts.missing, counts.verified),
        (420, 420, 0)
    );
    assert_eq!(node.set_aside(), SET_ASIDE_MAX);
    assert_eq!(node.cache.usage().unwrap(), (0, 0));
}

#[test]
fn a_file_that_ends_early_or_late_is_never_accepted() {
    let node = Node::new();
    let native = [0x5A; 500];
    for length in (0..620_u64).step_by(7).chain([619, 621, 900]) {
        let stored = node.store(COMPONENT, &native);
        let path = node.path(&stored.name);
        make_writable(&path);
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(length)
            .unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o400)).unwrap();
        assert!(
            matches!(
                node.cache.open_verified(&stored.name, &COMPONENT),
                Err(ArtifactError::Truncated)
            ),
            "{length} bytes"
        );
    }
}

#[test]
fn another_nodes_artifact_is_refused() {
    let (node, other) = (Node::new(), Node::new());
    let stored = other.store(COMPONENT, b"native");
    let place = node.path(&stored.name);
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    fs::copy(other.path(&stored.name), &place).unwrap();
    let error = node
        .cache
        .open_verified(&stored.name, &COMPONENT)
        .unwrap_err();
    assert!(matches!(error, ArtifactError::Tampered { what } if what.contains("authentication")));
}

#[test]
fn another_components_artifact_under_this_name_is_refused() {
    let node = Node::new();
    let other = node.store(digest(2), b"other");
    let name = node.cache.name_of(&COMPONENT);
    let place = node.path(&name);
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    fs::rename(node.path(&other.name), &place).unwrap();
    let error = node.cache.open_verified(&name, &COMPONENT).unwrap_err();
    assert!(
        matches!(error, ArtifactError::Tampered { what } if what.contains("another component"))
    );
}

#[test]
fn another_engines_artifact_is_missing_under_its_own_name_and_refused_under_this_one() {
    let node = Node::new();
    let stored = node.store(COMPONENT, b"native");
    let moved = node.open_again(CompatHash([8; 32]));
    assert!(matches!(
        moved.open_verified(&stored.name, &COMPONENT),
        Err(ArtifactError::Missing)
    ));
    let name = moved.name_of(&COMPONENT);
    assert_ne!(name, stored.name);
    let place = node.path(&name);
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    fs::rename(node.path(&stored.name), &place).unwrap();
    assert!(matches!(
        moved.open_verified(&name, &COMPONENT),
        Err(ArtifactError::OtherEngine)
    ));
    assert_eq!(moved.counts().other_engine, 1);
    assert!(!place.exists());
}

#[test]
fn links_pipes_folders_and_loose_permissions_are_refused() {
    let node = Node::new();
    let elsewhere = node.dir.path().join("elsewhere");
    let cases: [(&str, Spoil<'_>); 6] = [
        ("regular", &|path| {
            fs::rename(path, &elsewhere).unwrap();
            symlink(&elsewhere, path).unwrap();
        }),
        ("another name", &|path| {
            fs::hard_link(path, &elsewhere).unwrap()
        }),
        ("regular", &|path| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        }),
        ("regular", &|path| {
            fs::remove_file(path).unwrap();
            rustix::fs::mknodat(
                rustix::fs::CWD,
                path,
                rustix::fs::FileType::Fifo,
                Mode::RUSR,
                0,
            )
            .unwrap();
        }),
        ("other users", &|path| {
            fs::set_permissions(path, Permissions::from_mode(0o620)).unwrap();
        }),
        ("a folder", &|path| {
            let folder = path.parent().unwrap();
            let moved = node.dir.path().join("moved");
            fs::rename(folder, &moved).unwrap();
            symlink(&moved, folder).unwrap();
        }),
    ];
    for (word, spoil) in cases {
        let stored = node.store(COMPONENT, b"native");
        spoil(&node.path(&stored.name));
        match node.cache.open_verified(&stored.name, &COMPONENT) {
            Err(ArtifactError::Tampered { what }) => assert!(what.contains(word), "{word}: {what}"),
            other => panic!("{word}: {other:?}"),
        }
        let _ = fs::remove_file(&elsewhere);
        // Out of the way: the next one can be stored and used.
        let stored = node.store(COMPONENT, b"native");
        assert!(!stored.was_there, "{word}");
        node.cache.open_verified(&stored.name, &COMPONENT).unwrap();
        fs::remove_file(node.path(&stored.name)).unwrap();
    }
}

#[test]
fn many_at_once_store_the_same_name_and_one_file_stays() {
    let node = Node::new();
    let native: Vec<u8> = (0..100_000_u32)
        .map(|i| u8::try_from(i % 241).unwrap())
        .collect();
    let stored: Vec<Committed> = thread::scope(|scope| {
        let store = || node.store(COMPONENT, &native);
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(store)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert_eq!(stored.iter().filter(|stored| !stored.was_there).count(), 1);
    let name = stored[0].name;
    let inode = fs::metadata(node.path(&name)).unwrap().ino();
    node.cache.open_verified(&name, &COMPONENT).unwrap();
    // Never overwritten, not even by the same bytes.
    assert!(node.store(COMPONENT, &native).was_there);
    assert_eq!(fs::metadata(node.path(&name)).unwrap().ino(), inode);
    assert_eq!(node.cache.usage().unwrap().0, 1);
    assert_eq!(
        fs::read_dir(node.dir.path().join("artifacts/unfinished"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn what_was_left_unfinished_is_removed_at_the_next_start() {
    let node = Node::new();
    let unfinished = node.dir.path().join("artifacts/unfinished");
    fs::write(unfinished.join("half"), b"native").unwrap();
    node.open_again(COMPAT);
    assert_eq!(fs::read_dir(unfinished).unwrap().count(), 0);
}

#[test]
fn a_draft_has_no_name_and_is_not_what_is_stored() {
    let node = Node::new();
    let mut draft = node.cache.begin().unwrap();
    assert_eq!(draft.metadata().unwrap().nlink(), 0);
    draft.write_all(b"native").unwrap();
    let stored = node.cache.commit(&draft, 6, &COMPONENT, &|_| true).unwrap();
    // Whoever still holds the draft changes nothing.
    draft.write_all(b"more").unwrap();
    node.cache.open_verified(&stored.name, &COMPONENT).unwrap();
}

#[test]
fn a_draft_of_another_length_than_announced_or_too_large_is_not_stored() {
    let node = Node::new();
    let mut draft = node.cache.begin().unwrap();
    draft.write_all(b"native").unwrap();
    assert!(matches!(
        node.cache.commit(&draft, 5, &COMPONENT, &|_| true),
        Err(CommitError::WrongLength { have: 6, want: 5 })
    ));
    draft.set_len(1 << 20).unwrap();
    assert!(matches!(
        node.cache.commit(&draft, 1 << 20, &COMPONENT, &|_| true),
        Err(CommitError::TooLarge {
            bytes_max: 1_048_576,
            ..
        })
    ));
    assert_eq!(node.cache.usage().unwrap(), (0, 0));
}

#[test]
fn the_disk_bound_drops_unreferenced_ones_first_and_then_the_longest_unused() {
    let one = 1000 + TRAILER_BYTES as u64;
    let node = Node::with(CacheBounds {
        total_bytes_max: 3 * one,
        ..BOUNDS
    });
    let names: Vec<ArtifactName> = (0..3)
        .map(|i| node.store(digest(i), &[0; 1000]).name)
        .collect();
    // The oldest is in use again; the second is referenced by nobody.
    node.cache.open_verified(&names[0], &digest(0)).unwrap();
    let unreferenced = names[1];
    store(&node.cache, digest(3), &[0; 1000], &|name| {
        *name != unreferenced
    })
    .unwrap();
    let there = |i: usize| node.path(&node.cache.name_of(&digest(i))).exists();
    assert_eq!([0, 1, 2, 3].map(there), [true, false, true, true]);
    // Now all are referenced: the longest unused goes.
    node.store(digest(4), &[0; 1000]);
    assert_eq!([0, 2, 3, 4].map(there), [true, false, true, true]);
    assert_eq!(node.cache.usage().unwrap(), (3, 3 * one));
    assert_eq!(node.cache.counts().dropped, 2);
}

#[test]
fn the_number_of_artifacts_is_bounded_too() {
    let node = Node::with(CacheBounds {
        artifacts_max: 4,
        ..BOUNDS
    });
    for i in 0..10 {
        node.store(digest(i), b"native");
    }
    assert_eq!(node.cache.usage().unwrap().0, 4);
}

#[test]
fn what_nothing_refers_to_is_dropped_on_demand_after_a_restart_too() {
    let node = Node::new();
    let kept = node.store(digest(0), b"kept").name;
    node.store(digest(1), b"dropped");
    node.store(digest(2), b"dropped");
    let again = node.open_again(COMPAT);
    assert_eq!(again.drop_unreferenced(&|name| *name == kept).unwrap(), 2);
    assert_eq!(again.usage().unwrap().0, 1);
    again.open_verified(&kept, &digest(0)).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_file_but_the_right_one_is_accepted(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let node = Node::new();
        let name = node.cache.name_of(&COMPONENT);
        let path = node.path(&name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &bytes).unwrap();
        prop_assert!(node.cache.open_verified(&name, &COMPONENT).is_err());
    }
}

fn make_writable(path: &Path) {
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    make_writable(path);
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o400)).unwrap();
}
