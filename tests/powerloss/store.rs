//! The store under kill -9, power loss and failing disks: after each the state is exactly what the first so many
//! transactions lead to, everything acknowledged among them.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use littoral_tests::powerloss::{Coins, Shim, Survival};
use littorald::store::Store;
use littorald::store::blobs::digest_of;
use tempfile::TempDir;

use crate::workload::{self, Revisions};

const ROUNDS: u64 = 200;
/// A fresh directory every so many rounds: the first moments of a store's life are its most fragile.
const ROUNDS_PER_LIFE: u64 = 10;

/// A directory in memory where there is one: the shim stands in for the disk, and kill -9 leaves the kernel's own copy
/// alone on any filesystem, so a real disk would only add its waits.
fn home() -> TempDir {
    TempDir::new_in("/dev/shm").unwrap_or_else(|_| TempDir::new().unwrap())
}

/// The writer, and its lines as they come.
struct Writer {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

fn writer(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_store-writer"));
    command.arg(dir).stdout(Stdio::piped()).stdin(Stdio::null());
    command
}

impl Writer {
    fn start(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Reads until `acks` transactions are acknowledged, or the writer is gone.
    fn wait_for(&mut self, acks: u64, said: &mut Said) {
        let until = said.acks + acks;
        while said.acks < until {
            let Some(line) = self.lines.next() else {
                return;
            };
            said.hear(&line.unwrap());
        }
    }

    /// Kills it, and hears what it had said by then.
    fn kill(mut self, said: &mut Said) {
        self.child.kill().unwrap();
        self.finish(said);
    }

    fn finish(&mut self, said: &mut Said) -> Option<i32> {
        for line in &mut self.lines {
            said.hear(&line.unwrap());
        }
        self.child.wait().unwrap().code()
    }
}

/// What the writer told the world.
#[derive(Debug, Default)]
struct Said {
    acks: u64,
    acknowledged: u64,
    recovery: Option<String>,
    failures: Vec<String>,
}

impl Said {
    fn hear(&mut self, line: &str) {
        match line.split_once(' ') {
            Some(("ack", seq)) => {
                let seq = seq.parse().unwrap();
                assert!(
                    seq > self.acknowledged,
                    "{seq} was acknowledged after {}",
                    self.acknowledged
                );
                assert!(
                    self.failures.is_empty(),
                    "acknowledged after a failure: {seq}"
                );
                self.acknowledged = seq;
                self.acks += 1;
            }
            Some(("open", state)) => {
                let (seq, recovery) = state.split_once(' ').unwrap();
                self.acknowledged = seq.parse().unwrap();
                self.recovery = Some(recovery.to_owned());
            }
            Some(("failed", error)) => self.failures.push(error.to_owned()),
            _ => panic!("the writer said: {line}"),
        }
    }
}

/// The state at each number, worked out as far as needed.
#[derive(Default)]
struct Model {
    seq: u64,
    revisions: Revisions,
}

impl Model {
    fn at(&mut self, seq: u64) -> &Revisions {
        if seq < self.seq {
            *self = Self::default();
        }
        while self.seq < seq {
            self.seq += 1;
            let component = workload::component(self.seq);
            let digest = component.map(|bytes| digest_of(&bytes));
            workload::apply(
                &mut self.revisions,
                self.seq,
                &workload::transaction(self.seq, digest),
            );
        }
        &self.revisions
    }
}

/// Opens the store as it was left, and holds all of it against the model. Gives its sequence number and recovery.
fn check(dir: &Path, acknowledged: u64, model: &mut Model) -> (u64, String) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let opened = Store::open(workload::options(dir))
            .unwrap_or_else(|error| panic!("{error}: {error:?}"));
        let seq = opened.snapshot.seq;
        let recovery = opened.recovery.label().to_owned();
        assert!(
            seq >= acknowledged,
            "{acknowledged} was acknowledged, {seq} is there ({recovery})"
        );
        assert_eq!(
            &workload::revisions_of(&opened.snapshot),
            model.at(seq),
            "at {seq} ({recovery})"
        );
        assert_eq!(
            opened.snapshot.known_good_time_s,
            workload::known_good_time_s(seq)
        );
        workload::check_audit(&opened.store, seq).await;
        let blobs = workload::blobs(dir).unwrap();
        for module in &opened.snapshot.modules {
            for version in &module.record.versions {
                let digest = version.digest.parse().unwrap();
                blobs
                    .open_verified(&digest)
                    .unwrap_or_else(|error| panic!("{error} at {seq}"));
            }
        }
        opened.store.close().await;
        (seq, recovery)
    })
}

fn tally(counts: &mut BTreeMap<String, u64>, what: String) {
    *counts.entry(what).or_default() += 1;
}

#[test]
fn kill_minus_nine_loses_nothing_acknowledged() {
    let mut coins = Coins(1);
    let (mut acks, mut recoveries) = (0, BTreeMap::new());
    let mut dir = home();
    let mut model = Model::default();
    // What the last round was found at: whoever opened the store then was told so.
    let mut before = 0;
    for round in 0..ROUNDS {
        if round % ROUNDS_PER_LIFE == 0 {
            dir = home();
            model = Model::default();
            before = 0;
        }
        let mut said = Said::default();
        let mut writer = Writer::start(&mut writer(dir.path()));
        writer.wait_for(coins.below(30), &mut said);
        writer.kill(&mut said);
        assert_eq!(said.failures, [""; 0]);
        let (seq, recovery) = check(dir.path(), said.acknowledged.max(before), &mut model);
        before = seq;
        tally(&mut recoveries, recovery);
        acks += said.acks;
    }
    println!(
        "kill -9: {ROUNDS} rounds, {acks} transactions acknowledged, opened as {recoveries:?}"
    );
    assert!(
        acks > 5 * ROUNDS,
        "only {acks} transactions were acknowledged in {ROUNDS} rounds"
    );
}

#[test]
fn power_loss_loses_nothing_acknowledged() {
    let shim = Shim::build();
    let mut coins = Coins(2);
    let (mut acks, mut unacknowledged, mut recoveries) = (0, 0, BTreeMap::new());
    let mut dir = home();
    let mut model = Model::default();
    // What the last round was found at: whoever opened the store then was told so.
    let mut before = 0;
    for round in 0..ROUNDS {
        if round % ROUNDS_PER_LIFE == 0 {
            dir = home();
            model = Model::default();
            before = 0;
        }
        let watch = shim.watch(dir.path()).unwrap();
        let mut said = Said::default();
        // Opening takes some 40 operations, a transaction 5 and more: half the rounds end while it opens.
        let reach = if coins.below(2) == 0 { 60 } else { 600 };
        let kill_at = (1 + coins.below(reach)).to_string();
        let mut command = writer(dir.path());
        watch
            .preload(&mut command)
            .env("POWERLOSS_KILL_AT", kill_at);
        let code = Writer::start(&mut command).finish(&mut said);
        assert_eq!(code, None, "it was to be killed, and said {said:?}");
        assert_eq!(said.failures, [""; 0]);
        let survival = match round % 3 {
            0 => Survival::Strict,
            _ => Survival::Mixed { seed: round },
        };
        watch.cut_power(survival).unwrap();
        let acknowledged = said.acknowledged.max(before);
        let (seq, recovery) = check(dir.path(), acknowledged, &mut model);
        before = seq;
        tally(&mut recoveries, recovery);
        acks += said.acks;
        unacknowledged += seq - acknowledged;
    }
    println!(
        "power loss: {ROUNDS} rounds, {acks} transactions acknowledged, {unacknowledged} more survived, opened as \
         {recoveries:?}"
    );
    assert!(
        acks > 5 * ROUNDS,
        "only {acks} transactions were acknowledged in {ROUNDS} rounds"
    );
}

/// Without the syncs this very test must fail: shown by forgetting all of them.
#[test]
fn a_disk_that_ignores_syncs_is_noticed() {
    let shim = Shim::build();
    let dir = home();
    check(dir.path(), 0, &mut Model::default());
    let watch = shim.watch(dir.path()).unwrap();
    let mut said = Said::default();
    let mut command = writer(dir.path());
    watch
        .preload(&mut command)
        .env("POWERLOSS_SYNCS_IGNORED", "1");
    let mut writer = Writer::start(&mut command);
    writer.wait_for(30, &mut said);
    writer.kill(&mut said);
    watch.cut_power(Survival::Strict).unwrap();
    let (seq, _) = check(dir.path(), 0, &mut Model::default());
    assert!(said.acknowledged >= 30);
    assert_eq!(seq, 0, "without syncs nothing can have survived");
}

#[test]
fn a_failing_disk_ends_the_service_and_takes_nothing_acknowledged_with_it() {
    let shim = Shim::build();
    let mut coins = Coins(3);
    let mut model = Model::default();
    for round in 0..24_u64 {
        let dir = home();
        check(dir.path(), 0, &mut model);
        let watch = shim.watch(dir.path()).unwrap();
        let mut said = Said::default();
        let mut command = writer(dir.path());
        watch.preload(&mut command);
        if round % 2 == 0 {
            command.env("POWERLOSS_SYNC_FAILS_AT", (1 + coins.below(60)).to_string());
        } else {
            command.env(
                "POWERLOSS_BYTES_MAX",
                (1 + coins.below(150_000)).to_string(),
            );
        }
        let code = Writer::start(&mut command).finish(&mut said);
        assert_eq!(code, Some(3), "round {round}: {said:?}");
        assert!(!said.failures.is_empty(), "round {round}: it never failed");
        if round % 4 < 2 {
            watch.cut_power(Survival::Mixed { seed: round }).unwrap();
        }
        check(dir.path(), said.acknowledged, &mut model);
    }
}
