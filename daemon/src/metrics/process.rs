//! What the kernel says of control and the worker, read from `/proc` at each scrape (proc(5)).
//!
//! A process that is gone or may not be looked at has no samples. Never follows a path that anyone outside names.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;

use super::family::{self, Samples};

/// The longest that `/proc/PID/stat` is: a name of 15 characters and 51 numbers.
const STAT_BYTES_MAX: usize = 2048;

/// A process whose figures are wanted, or none.
///
/// Its file stays open: `/proc` may be mounted so that another user's processes are not there to be opened, and an id
/// may be another process's by the time it is looked up.
#[derive(Debug, Clone, Default)]
pub(super) struct Watched(Arc<Mutex<Option<(u32, File)>>>);

impl Watched {
    /// From now on this process; none if it cannot be looked at.
    pub(super) fn watch(&self, pid: u32) {
        let stat = File::open(format!("/proc/{pid}/stat"));
        *self.lock() = stat.ok().map(|stat| (pid, stat));
    }

    /// None any more.
    pub(super) fn forget(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<(u32, File)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Control itself and, while there is one, the worker.
pub(super) struct ProcessCollector {
    worker: Watched,
    descs: Vec<Desc>,
}

impl ProcessCollector {
    pub(super) fn new(worker: Watched) -> Self {
        Self {
            worker,
            descs: family::descs(family::PROCESS_FAMILIES),
        }
    }
}

impl Collector for ProcessCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut samples = Samples::default();
        let booted_s = std::fs::read_to_string("/proc/stat")
            .ok()
            .and_then(|text| boot_time_s(&text));
        let own = std::process::id();
        if let Ok(stat) = File::open("/proc/self/stat") {
            process(&mut samples, "control", (own, &stat), booted_s);
        }
        if let Some((pid, stat)) = &*self.worker.lock() {
            process(&mut samples, "worker", (*pid, stat), booted_s);
        }
        samples.into_families()
    }
}

fn process(samples: &mut Samples, name: &str, (pid, stat): (u32, &File), booted_s: Option<u64>) {
    let label = [name];
    if let Some(stat) = Stat::read(stat) {
        let ticks_per_s = rustix::param::clock_ticks_per_second() as f64;
        let page_bytes = rustix::param::page_size() as u64;
        samples.number(
            &family::PROCESS_CPU,
            &label,
            stat.cpu_ticks as f64 / ticks_per_s,
        );
        samples.count(
            &family::PROCESS_MEMORY,
            &label,
            stat.resident_pages.saturating_mul(page_bytes),
        );
        if let Some(booted_s) = booted_s {
            let started_s = booted_s as f64 + stat.started_ticks as f64 / ticks_per_s;
            samples.number(&family::PROCESS_START, &label, started_s);
        }
    }
    // As many entries as the process may have descriptors open.
    if let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/fd")) {
        samples.count(&family::PROCESS_FDS, &label, entries.count() as u64);
    }
}

/// Fields of `/proc/PID/stat`.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    /// `utime` and `stime`.
    cpu_ticks: u64,
    /// `starttime`, since boot.
    started_ticks: u64,
    /// `rss`.
    resident_pages: u64,
}

impl Stat {
    fn read(file: &File) -> Option<Self> {
        let mut space = [0; STAT_BYTES_MAX];
        let length = file.read_at(&mut space, 0).ok()?;
        Self::parse(&String::from_utf8_lossy(space.get(..length)?))
    }

    fn parse(text: &str) -> Option<Self> {
        // The second field is the program's name in brackets, with whatever characters it has: the others begin
        // after the last bracket, with the third.
        let (_, fields) = text.rsplit_once(')')?;
        let fields = fields.split_ascii_whitespace().collect::<Vec<_>>();
        let field = |number: usize| fields.get(number.checked_sub(3)?)?.parse::<u64>().ok();
        Some(Self {
            cpu_ticks: field(14)?.saturating_add(field(15)?),
            started_ticks: field(22)?,
            resident_pages: field(24)?,
        })
    }
}

/// `btime` of `/proc/stat`, in seconds since 1970.
fn boot_time_s(text: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix("btime "))?
        .trim()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_whatever_the_program_is_called() {
        let line = "12 (a) b ) S 1 12 12 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 3 0 7700 1000000 321 9 1 1 0";
        let stat = Stat {
            cpu_ticks: 300,
            started_ticks: 7700,
            resident_pages: 321,
        };
        assert_eq!(Stat::parse(line), Some(stat));
        for broken in ["", "12 (a", "12 (a) S 1", &line.replace("250", "x")] {
            assert_eq!(Stat::parse(broken), None, "{broken}");
        }
    }

    #[test]
    fn a_process_is_read_again_through_its_open_file_until_it_is_gone() {
        let mut child = std::process::Command::new("/bin/cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let watched = Watched::default();
        watched.watch(child.id());
        let read = || {
            watched
                .lock()
                .as_ref()
                .and_then(|(_, stat)| Stat::read(stat))
        };
        assert!(read().is_some() && read() == read());
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(read(), None);
        watched.watch(child.id());
        assert!(watched.lock().is_none(), "there is no such process");
    }

    #[test]
    fn the_boot_time_is_found_among_other_lines() {
        assert_eq!(
            boot_time_s("cpu 1 2\nbtime 1790000000\nprocesses 5\n"),
            Some(1_790_000_000)
        );
        assert_eq!(boot_time_s("cpu 1 2\n"), None);
    }
}
