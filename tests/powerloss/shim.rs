//! The power-loss shim, shown on single steps.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use littoral_tests::powerloss::{Shim, Survival, Watch};
use tempfile::TempDir;

/// What lies in a directory: names with contents, or with a slash for a directory.
type Tree = BTreeMap<String, String>;

fn tree(dir: &Path) -> Tree {
    let mut tree = Tree::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            for (below, text) in self::tree(&path) {
                tree.insert(format!("{name}/{below}"), text);
            }
            tree.insert(format!("{name}/"), String::new());
        } else {
            tree.insert(name, fs::read_to_string(&path).unwrap());
        }
    }
    tree
}

fn wanted(entries: &[(&str, &str)]) -> Tree {
    entries
        .iter()
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
        .collect()
}

/// Carries out the steps under the shim, kills the process after the last one, and gives its answers.
fn run(watch: &Watch, dir: &Path, steps: &[&str], variables: &[(&str, &str)]) -> Vec<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_file-steps"));
    command
        .args(steps)
        .current_dir(dir)
        .envs(variables.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = watch.preload(&mut command).spawn().unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let answers = output
        .lines()
        .take(steps.len())
        .map(Result::unwrap)
        .collect();
    child.kill().unwrap();
    child.wait().unwrap();
    answers
}

fn prepared() -> TempDir {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("old"), "old text").unwrap();
    fs::create_dir(dir.path().join("folder")).unwrap();
    fs::write(dir.path().join("folder/inner"), "inner text").unwrap();
    dir
}

const BEFORE: [(&str, &str); 3] = [
    ("old", "old text"),
    ("folder/", ""),
    ("folder/inner", "inner text"),
];

/// After `steps` and a power cut, the directory holds what it held before with `changed` over it; an empty `None`
/// means that the name is gone.
#[track_caller]
fn survives(shim: &Shim, steps: &[&str], changed: &[(&str, Option<&str>)]) {
    let dir = prepared();
    let watch = shim.watch(dir.path()).unwrap();
    let answers = run(&watch, dir.path(), steps, &[]);
    assert!(
        answers.iter().all(|answer| answer == "done"),
        "{steps:?}: {answers:?}"
    );
    watch.cut_power(Survival::Strict).unwrap();
    let mut expected = wanted(&BEFORE);
    for (name, text) in changed {
        match text {
            Some(text) => expected.insert((*name).to_owned(), (*text).to_owned()),
            None => expected.remove(*name),
        };
    }
    assert_eq!(tree(dir.path()), expected, "{steps:?}");
}

#[test]
fn only_what_was_synced_survives() {
    let shim = Shim::build();
    let nothing: &[(&str, Option<&str>)] = &[];
    // Contents.
    survives(&shim, &[], nothing);
    survives(&shim, &["append:old: and more"], nothing);
    survives(
        &shim,
        &["append:old: and more", "sync:old"],
        &[("old", Some("old text and more"))],
    );
    survives(
        &shim,
        &["append:old:, more", "syncdata:old", "append:old:, lost"],
        &[("old", Some("old text, more"))],
    );
    survives(&shim, &["at:old:4:TEXT"], nothing);
    survives(
        &shim,
        &["at:old:4:TEXT", "sync:old"],
        &[("old", Some("old TEXT"))],
    );
    survives(&shim, &["cut:old:3"], nothing);
    survives(&shim, &["cut:old:3", "sync:old"], &[("old", Some("old"))]);
    survives(&shim, &["write:old:new"], nothing);
    survives(
        &shim,
        &["write:old:new", "sync:old"],
        &[("old", Some("new"))],
    );
    survives(&shim, &["syncdir:.", "append:old: x", "syncdir:."], nothing);
    // New names need the file's sync for their contents and the directory's for themselves.
    survives(&shim, &["write:new:text"], nothing);
    survives(&shim, &["write:new:text", "sync:new"], nothing);
    survives(
        &shim,
        &["write:new:text", "syncdir:."],
        &[("new", Some(""))],
    );
    survives(
        &shim,
        &["write:new:text", "sync:new", "syncdir:."],
        &[("new", Some("text"))],
    );
    survives(
        &shim,
        &["copy:old:new", "sync:new", "syncdir:."],
        &[("new", Some("old text"))],
    );
    survives(&shim, &["link:old:new"], nothing);
    survives(
        &shim,
        &["link:old:new", "syncdir:."],
        &[("new", Some("old text"))],
    );
    // Renames.
    let replace = ["write:new:text", "sync:new", "rename:new:old"];
    survives(&shim, &replace, nothing);
    survives(
        &shim,
        &[&replace[..], &["syncdir:."]].concat(),
        &[("old", Some("text"))],
    );
    survives(
        &shim,
        &["write:new:text", "rename:new:old", "syncdir:."],
        &[("old", Some(""))],
    );
    survives(
        &shim,
        &["rename:old:folder/moved", "syncdir:folder"],
        &[("folder/moved", Some("old text"))],
    );
    survives(
        &shim,
        &["rename:old:folder/moved", "syncdir:folder", "syncdir:."],
        &[("folder/moved", Some("old text")), ("old", None)],
    );
    survives(
        &shim,
        &["rename:folder:other", "syncdir:."],
        &[
            ("folder/", None),
            ("folder/inner", None),
            ("other/", Some("")),
            ("other/inner", Some("inner text")),
        ],
    );
    // Removals.
    survives(&shim, &["remove:old"], nothing);
    survives(&shim, &["remove:old", "syncdir:."], &[("old", None)]);
    survives(&shim, &["rmdir:folder"], nothing);
    survives(
        &shim,
        &["rmdir:folder", "syncdir:."],
        &[("folder/", None), ("folder/inner", None)],
    );
    survives(
        &shim,
        &["remove:old", "write:old:again", "sync:old"],
        nothing,
    );
    // New directories.
    survives(
        &shim,
        &[
            "mkdir:made",
            "write:made/a:text",
            "sync:made/a",
            "syncdir:made",
        ],
        nothing,
    );
    survives(
        &shim,
        &[
            "mkdir:made",
            "write:made/a:text",
            "sync:made/a",
            "syncdir:.",
        ],
        &[("made/", Some(""))],
    );
    survives(
        &shim,
        &[
            "mkdir:made",
            "write:made/a:text",
            "sync:made/a",
            "syncdir:made",
            "syncdir:.",
        ],
        &[("made/", Some("")), ("made/a", Some("text"))],
    );
}

#[test]
fn threads_are_logged_in_the_order_their_writes_took_effect() {
    let shim = Shim::build();
    let dir = prepared();
    let watch = shim.watch(dir.path()).unwrap();
    assert_eq!(
        run(&watch, dir.path(), &["threads:8", "syncdir:."], &[]),
        ["done", "done"]
    );
    watch.cut_power(Survival::Strict).unwrap();
    let tree = tree(dir.path());
    let lines: String = (0..50).map(|line| format!("{line}\n")).collect();
    for thread in 0..8 {
        assert_eq!(tree[&format!("thread-{thread}")], lines);
    }
}

#[test]
fn with_coins_the_unsynced_may_survive_whole_in_part_or_not_and_the_synced_always_does() {
    let shim = Shim::build();
    let steps = [
        "fill:old:A:2048",
        "sync:old",
        "fill:old:B:2048",
        "write:new:text",
        "sync:new",
    ];
    let (mut lost, mut whole, mut partial, mut named, mut unnamed) = (0, 0, 0, 0, 0);
    for seed in 0..64 {
        let dir = prepared();
        let watch = shim.watch(dir.path()).unwrap();
        run(&watch, dir.path(), &steps, &[]);
        watch.cut_power(Survival::Mixed { seed }).unwrap();
        let tree = tree(dir.path());
        let old = tree["old"].as_bytes();
        assert_eq!(old.len(), 2048);
        for sector in old.chunks(512) {
            assert!(
                sector.iter().all(|byte| *byte == sector[0]),
                "a sector is torn"
            );
        }
        match old.iter().filter(|byte| **byte == b'B').count() {
            0 => lost += 1,
            2048 => whole += 1,
            _ => partial += 1,
        }
        match tree.get("new") {
            Some(text) => {
                assert_eq!(text, "text");
                named += 1;
            }
            None => unnamed += 1,
        }
        assert_eq!(tree["folder/inner"], "inner text");
    }
    for count in [lost, whole, partial, named, unnamed] {
        assert!(
            count >= 5,
            "{lost} lost, {whole} whole, {partial} in part, {named} named, {unnamed} not"
        );
    }
}

#[test]
fn disks_that_fail_and_fill_up_are_emulated() {
    let shim = Shim::build();
    let eio = format!("refused {}", 5);
    let enospc = format!("refused {}", 28);

    let dir = prepared();
    let watch = shim.watch(dir.path()).unwrap();
    let steps = [
        "append:old:, first",
        "sync:old",
        "append:old:, second",
        "sync:old",
        "syncdir:.",
    ];
    let answers = run(
        &watch,
        dir.path(),
        &steps,
        &[("POWERLOSS_SYNC_FAILS_AT", "2")],
    );
    assert_eq!(answers, ["done", "done", "done", &eio, &eio]);
    watch.cut_power(Survival::Strict).unwrap();
    assert_eq!(tree(dir.path())["old"], "old text, first");

    let watch = shim.watch(dir.path()).unwrap();
    let steps = [
        "write:new:12345",
        "append:new:67890",
        "append:new:more",
        "sync:new",
        "syncdir:.",
    ];
    let answers = run(&watch, dir.path(), &steps, &[("POWERLOSS_BYTES_MAX", "8")]);
    assert_eq!(answers, ["done", &enospc, &enospc, "done", "done"]);
    watch.cut_power(Survival::Strict).unwrap();
    assert_eq!(tree(dir.path())["new"], "12345678");
}

#[test]
fn a_process_can_be_killed_at_any_of_its_operations() {
    let shim = Shim::build();
    let steps = [
        "write:new:text",
        "sync:new",
        "syncdir:.",
        "append:new: more",
        "sync:new",
    ];
    // Creating, writing, syncing, syncing the directory, appending, syncing.
    let texts = [
        None,
        None,
        None,
        None,
        Some("text"),
        Some("text"),
        Some("text more"),
    ];
    for (number, text) in (1..).zip(texts) {
        let dir = prepared();
        let watch = shim.watch(dir.path()).unwrap();
        run(
            &watch,
            dir.path(),
            &steps,
            &[("POWERLOSS_KILL_AT", &format!("{number}"))],
        );
        assert_eq!(watch.operations().unwrap(), number.min(7) - 1);
        watch.cut_power(Survival::Strict).unwrap();
        assert_eq!(
            tree(dir.path()).get("new").map(String::as_str),
            text,
            "killed at {number}"
        );
    }
}
