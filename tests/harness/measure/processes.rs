//! What processes use, as `/proc` has it.

use std::time::Duration;

/// CPU time and memory of some processes together.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// User and system time since each began.
    pub cpu: Duration,
    /// Resident memory, what they share counted for each.
    pub rss_kib: u64,
}

/// A process and all that came of it, as long as they are there.
pub fn tree(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut at = 0;
    while let Some(pid) = all.get(at) {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
        for task in tasks.into_iter().flatten().flatten() {
            let children = std::fs::read_to_string(task.path().join("children"));
            let children = children.unwrap_or_default();
            all.extend(
                children
                    .split_ascii_whitespace()
                    .filter_map(|id| id.parse::<u32>().ok()),
            );
        }
        at += 1;
    }
    all
}

/// What these processes use.
pub fn usage(pids: &[u32]) -> Usage {
    let ticks: u64 = pids.iter().map(|&pid| ticks(pid)).sum();
    Usage {
        cpu: Duration::from_secs(ticks) / clock_ticks(),
        rss_kib: memory_kib(pids, "VmRSS"),
    }
}

fn clock_ticks() -> u32 {
    u32::try_from(rustix::param::clock_ticks_per_second()).expect("a hundred or so")
}

fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name, in brackets, may have spaces. What follows it begins with field 3; utime and stime are 14 and 15.
    let (_, fields) = stat.rsplit_once(')').unwrap_or_default();
    let fields = fields.split_ascii_whitespace().skip(11).take(2);
    fields.filter_map(|ticks| ticks.parse::<u64>().ok()).sum()
}

/// The sum of a line of `/proc/<pid>/status`, for instance `RssAnon`, or of `smaps_rollup`, for instance `Pss`.
pub fn memory_kib(pids: &[u32], what: &str) -> u64 {
    let file = if what == "Pss" {
        "smaps_rollup"
    } else {
        "status"
    };
    pids.iter()
        .filter_map(|pid| {
            let text = std::fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
            let value = text.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                (name == what).then_some(value)
            })?;
            value.split_ascii_whitespace().next()?.parse::<u64>().ok()
        })
        .sum()
}
