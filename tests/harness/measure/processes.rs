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
    let ticks: u64 = pids.iter().map(|&pid| ticks(pid, 2)).sum();
    Usage {
        cpu: Duration::from_secs(ticks) / clock_ticks(),
        rss_kib: memory_kib(pids, "VmRSS"),
    }
}

fn clock_ticks() -> u32 {
    u32::try_from(rustix::param::clock_ticks_per_second()).expect("a hundred or so")
}

/// The sum of so many fields from the 14th on, utime.
fn ticks(pid: u32, fields: usize) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name, in brackets, may have spaces. What follows it begins with field 3.
    let (_, rest) = stat.rsplit_once(')').unwrap_or_default();
    let fields = rest.split_ascii_whitespace().skip(11).take(fields);
    fields.filter_map(|ticks| ticks.parse::<u64>().ok()).sum()
}

/// CPU time of this process and of the children that it has waited for.
pub fn own_cpu() -> Duration {
    // utime, stime, and both of waited-for children.
    Duration::from_secs(ticks(std::process::id(), 4)) / clock_ticks()
}

/// CPU time that the machine has spent on anything at all, its cores together.
pub fn busy_cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let all = stat.lines().next().unwrap_or_default();
    let fields = all.split_ascii_whitespace().skip(1);
    let ticks = fields.filter_map(|ticks| ticks.parse::<u64>().ok());
    // user, nice, system, idle, iowait, irq, softirq; guests' time is in user's.
    let busy = ticks
        .take(7)
        .enumerate()
        .filter(|(at, _)| ![3, 4].contains(at));
    Duration::from_secs(busy.map(|(_, ticks)| ticks).sum()) / clock_ticks()
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
