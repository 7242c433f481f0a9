//! What guests keep, kept on a real disk.

use std::sync::mpsc;

use super::*;

const ROOMY: Allowance = Allowance {
    keys_max: 1000,
    bytes_max: 1 << 20,
    value_bytes_max: 1 << 10,
};

struct Store {
    dir: tempfile::TempDir,
    storage: Storage,
}

impl Store {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let storage = Storage::at(dir.path().join("kept"));
        Self { dir, storage }
    }

    fn again(self) -> Self {
        let storage = Storage::at(self.dir.path().join("kept"));
        Self { storage, ..self }
    }

    fn write_as(&self, tenant: &str, op: StoreOp, allowed: Allowance) -> Result<Given, Fault> {
        let (sender, done) = mpsc::channel();
        let tell = move |outcome| sender.send(outcome).unwrap();
        self.storage
            .write(tenant, "default", op, allowed, Box::new(tell));
        done.recv().unwrap()
    }

    fn write(&self, op: StoreOp) -> Result<Given, Fault> {
        self.write_as("acme", op, ROOMY)
    }

    fn read_as(&self, tenant: &str, store: &str, op: &StoreOp) -> Result<Given, Fault> {
        let reader = self.storage.reader().unwrap();
        reader.read(tenant, store, op).unwrap()
    }

    fn get(&self, key: &str) -> Option<Vec<u8>> {
        match self.read_as("acme", "default", &StoreOp::Get(key.to_owned())) {
            Ok(Given::Value(value)) => value,
            other => panic!("{other:?}"),
        }
    }

    fn kept(&self) -> (u64, u64) {
        let kept = self.storage.kept("acme").unwrap();
        (kept.keys, kept.bytes)
    }
}

fn set(pairs: &[(&str, &str)]) -> StoreOp {
    let pairs = pairs.iter();
    StoreOp::Set(
        pairs
            .map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()))
            .collect(),
    )
}

fn add(key: &str, delta: i64) -> StoreOp {
    StoreOp::Increment {
        key: key.to_owned(),
        delta,
    }
}

#[test]
fn what_is_written_is_read_and_there_after_opening_again() {
    let store = Store::new();
    assert!(!store.storage.is_there());
    assert_eq!(store.kept(), (0, 0));
    assert_eq!(
        store.write(set(&[("a", "1"), ("b", "22")])),
        Ok(Given::Done)
    );
    assert_eq!(store.get("a").unwrap(), b"1");
    assert_eq!(store.kept(), (2, 5));
    store.write(set(&[("a", "333")])).unwrap();
    assert_eq!(store.kept(), (2, 7));
    let store = store.again();
    assert!(store.storage.is_there());
    assert_eq!(
        (store.get("a").unwrap(), store.get("c")),
        (b"333".to_vec(), None)
    );
    assert_eq!(store.kept(), (2, 7));
    let gone = StoreOp::Delete(vec!["a".into(), "c".into()]);
    store.write(gone).unwrap();
    assert_eq!((store.get("a"), store.kept()), (None, (1, 3)));
}

#[test]
fn keys_come_in_order_and_page_by_page() {
    let store = Store::new();
    store
        .write(set(&[("b", ""), ("a", ""), ("c", ""), ("\u{e9}", "")]))
        .unwrap();
    let page = |after: Option<&str>, limit| {
        let op = StoreOp::Keys {
            after: after.map(str::to_owned),
            limit,
        };
        match store.read_as("acme", "default", &op) {
            Ok(Given::Keys(keys)) => keys.join(" "),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(page(None, 2), "a b");
    assert_eq!(page(Some("b"), 2), "c \u{e9}");
    assert_eq!(page(Some("\u{e9}"), 2), "");
}

#[test]
fn tenants_and_stores_with_the_same_keys_never_see_each_others() {
    let store = Store::new();
    store.write(set(&[("key", "acme's")])).unwrap();
    let get = StoreOp::Get("key".to_owned());
    for (tenant, name) in [("other", "default"), ("acme", "cache"), ("acm", "edefault")] {
        assert_eq!(store.read_as(tenant, name, &get), Ok(Given::Value(None)));
    }
    store
        .write_as("other", set(&[("key", "theirs")]), ROOMY)
        .unwrap();
    assert_eq!(store.get("key").unwrap(), b"acme's");
    let (sender, done) = mpsc::channel();
    store.storage.forget(
        "acme",
        Box::new(move |outcome| sender.send(outcome).unwrap()),
    );
    done.recv().unwrap().unwrap();
    assert_eq!((store.get("key"), store.kept()), (None, (0, 0)));
    assert_eq!(
        store.storage.kept("other").unwrap(),
        Kept { keys: 1, bytes: 9 }
    );
}

#[test]
fn what_goes_beyond_an_allowance_is_refused_whole_by_the_byte() {
    let store = Store::new();
    let allowed = Allowance {
        keys_max: 2,
        bytes_max: 10,
        value_bytes_max: 6,
    };
    let refused = |op| match store.write_as("acme", op, allowed) {
        Err(Fault::Refused(why)) => why,
        other => panic!("{other:?}"),
    };
    store
        .write_as("acme", set(&[("a", "123456")]), allowed)
        .unwrap();
    assert_eq!(
        refused(set(&[("b", "1234567")])),
        "the value has 7 bytes; allowed: 6"
    );
    assert_eq!(
        refused(set(&[("b", "123")])),
        "the tenant's stores would have 11 bytes; allowed: 10"
    );
    assert_eq!(
        refused(set(&[("b", "1"), ("c", "")])),
        "the tenant's stores would have 3 keys; allowed: 2"
    );
    assert_eq!(store.get("b"), None);
    store
        .write_as("acme", set(&[("b", "12")]), allowed)
        .unwrap();
    assert_eq!(store.kept(), (2, 10));
    // The same key twice counts once, with what it has in the end.
    let twice = set(&[("b", "123456"), ("b", "1")]);
    store.write_as("acme", twice, allowed).unwrap();
    assert_eq!(
        (store.get("b").unwrap(), store.kept()),
        (b"1".to_vec(), (2, 9))
    );
    // Over a lowered allowance one can still get smaller.
    let lower = Allowance {
        bytes_max: 5,
        ..allowed
    };
    store
        .write_as("acme", set(&[("a", "1234")]), lower)
        .unwrap();
    assert_eq!(store.kept(), (2, 7));
    assert!(
        store
            .write_as("acme", set(&[("a", "12345")]), lower)
            .is_err()
    );
}

#[test]
fn keys_have_bounds() {
    let store = Store::new();
    let long = "x".repeat(2048);
    for (key, why) in [
        ("", "the key is empty; allowed: 1 to 1024 bytes"),
        (&*long, "the key has 2048 bytes; allowed: 1 to 1024"),
    ] {
        let refused = Err(Fault::Refused(why.to_owned()));
        assert_eq!(store.write(set(&[(key, "")])), refused);
        assert_eq!(store.write(add(key, 1)), refused);
        assert_eq!(store.write(StoreOp::Delete(vec![key.to_owned()])), refused);
        assert_eq!(
            store.read_as("acme", "default", &StoreOp::Get(key.to_owned())),
            refused
        );
        assert_eq!(
            store.read_as("acme", "default", &StoreOp::Exists(key.to_owned())),
            refused
        );
    }
    let many = StoreOp::GetMany(vec!["k".to_owned(); 1025]);
    let refused = store.read_as("acme", "default", &many);
    assert_eq!(
        refused,
        Err(Fault::Refused(
            "1025 keys in one call; allowed: 1024".to_owned()
        ))
    );
}

#[test]
fn numbers_are_added_and_values_swapped_without_a_gap() {
    let store = Store::new();
    assert_eq!(store.write(add("n", 5)), Ok(Given::Number(5)));
    assert_eq!(store.write(add("n", -7)), Ok(Given::Number(-2)));
    assert_eq!(store.get("n").unwrap(), b"-2");
    store
        .write(set(&[("n", "9223372036854775807"), ("t", "text")]))
        .unwrap();
    assert!(matches!(store.write(add("n", 1)), Err(Fault::Refused(_))));
    assert!(matches!(store.write(add("t", 1)), Err(Fault::Refused(_))));
    let swap = |current: Option<&str>, value: &str| {
        store.write(StoreOp::Swap {
            key: "s".to_owned(),
            current: current.map(|text| text.as_bytes().to_vec()),
            value: value.as_bytes().to_vec(),
        })
    };
    assert_eq!(swap(Some("x"), "y"), Ok(Given::Flag(false)));
    assert_eq!(swap(None, "y"), Ok(Given::Flag(true)));
    assert_eq!(swap(None, "z"), Ok(Given::Flag(false)));
    assert_eq!(swap(Some("y"), "z"), Ok(Given::Flag(true)));
    assert_eq!(store.get("s").unwrap(), b"z");
}

#[test]
fn two_processes_that_write_in_turn_count_the_same() {
    let store = Store::new();
    let other = Storage::at(store.dir.path().join("kept"));
    let allowed = Allowance {
        keys_max: 2,
        ..ROOMY
    };
    let write_there = |op| {
        let (sender, done) = mpsc::channel();
        let tell = move |outcome| sender.send(outcome).unwrap();
        other.write("acme", "default", op, allowed, Box::new(tell));
        done.recv().unwrap()
    };
    store.write(set(&[("a", "1")])).unwrap();
    write_there(set(&[("b", "2")])).unwrap();
    let refused = store.write_as("acme", set(&[("c", "3")]), allowed);
    assert!(matches!(refused, Err(Fault::Refused(_))), "{refused:?}");
    store.write(StoreOp::Delete(vec!["a".to_owned()])).unwrap();
    write_there(set(&[("c", "3")])).unwrap();
    let kept = other.kept("acme").unwrap();
    assert_eq!((kept.keys, kept.bytes), (2, 4));
}

#[test]
fn a_thousand_increments_from_many_threads_lose_none() {
    let store = Store::new();
    std::thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| {
                for _ in 0..100 {
                    store.write(add("n", 1)).unwrap();
                }
            });
        }
    });
    assert_eq!(store.get("n").unwrap(), b"1000");
}

#[test]
fn a_database_that_is_none_is_told_and_left_alone() {
    let store = Store::new();
    let dir = store.dir.path().join("kept");
    std::fs::create_dir(&dir).unwrap();
    let file = dir.join(FILE);
    let junk = b"this is not a database, whatever its name says ".repeat(100);
    std::fs::write(&file, &junk).unwrap();
    let refused = store.write(set(&[("a", "b")])).unwrap_err();
    assert!(refused.to_string().contains("not a database"), "{refused}");
    assert!(store.storage.reader().is_err());
    assert_eq!(std::fs::read(&file).unwrap(), junk);
}
