//! What this box has, how much of it is available, and what the node takes for what.

use std::path::{Path, PathBuf};

use edge_config::Config;

use crate::engine::{BoxFigures, Pool, ShapeError, Wanted};

/// Taken where the kernel says nothing.
const UNKNOWN_BYTES: u64 = 512 << 20;

/// The least that one memory can grow to on a node, in bytes, however little tenants get by default: what one of them
/// may have is set while the node runs, and slots are laid out at start.
const MEMORY_BYTES_MAX_MIN: u64 = 64 << 20;

/// What the node may take for what, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Budgets {
    /// Linear memories and tables of guests.
    pub(crate) guests_bytes: u64,
    /// What ended instances leave for the next.
    pub(crate) kept_bytes: u64,
    /// Loaded components.
    pub(crate) code_bytes: u64,
    /// Buffers of connections and requests.
    pub(crate) buffers_bytes: u64,
}

impl Budgets {
    /// As configured, else by what the box has.
    pub(crate) fn of(config: &Config, box_bytes: u64) -> Self {
        let budget = |mib: u32, percent: u64| match mib {
            0 => box_bytes / 100 * percent,
            mib => u64::from(mib) << 20,
        };
        let memory = &config.memory;
        Self {
            guests_bytes: budget(memory.guests_mib_max, 50),
            kept_bytes: budget(memory.kept_mib_max, 10),
            code_bytes: budget(memory.code_mib_max, 15),
            buffers_bytes: budget(memory.buffers_mib_max, 10),
        }
    }
}

/// The pool of instances that follows from configuration and box.
///
/// # Errors
/// [`ShapeError`] where none fits.
pub(crate) fn pool(
    config: &Config,
    budgets: &Budgets,
    on: &BoxFigures,
) -> Result<Pool, ShapeError> {
    let memory_bytes_max = config.limits.instance_memory_mib_max << 20;
    let wanted = Wanted {
        instances_max: config.worker.instances_max,
        memory_bytes_max: memory_bytes_max.max(MEMORY_BYTES_MAX_MIN),
        guests_bytes: budgets.guests_bytes,
        kept_bytes: budgets.kept_bytes,
    };
    Pool::size(&wanted, on)
}

/// Memory that this process and its children may use: the box's, or that of the control group that has the least left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BoxMemory {
    pub(crate) total_bytes: u64,
    pub(crate) available_bytes: u64,
}

impl BoxMemory {
    /// As of now. Reads a handful of small files of the kernel's.
    pub(crate) fn now() -> Self {
        let of_box = read(Path::new("/proc/meminfo")).and_then(|text| of_meminfo(&text));
        let groups = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
        let total = of_box.map_or(UNKNOWN_BYTES, |memory| memory.total_bytes);
        let of_groups = groups_of(&groups)
            .into_iter()
            .filter_map(|group| group.memory(total));
        of_box
            .into_iter()
            .chain(of_groups)
            .min_by_key(|memory| memory.available_percent())
            .unwrap_or(Self {
                total_bytes: UNKNOWN_BYTES,
                available_bytes: UNKNOWN_BYTES,
            })
    }

    /// The smallest total of all that bound this process.
    pub(crate) fn total_bytes() -> u64 {
        let (of_box, of_group) = Self::totals();
        of_group.unwrap_or(of_box)
    }

    /// The box's memory, and, where a control group leaves less of it, that group's, in bytes.
    pub(crate) fn totals() -> (u64, Option<u64>) {
        let of_box = read(Path::new("/proc/meminfo")).and_then(|text| of_meminfo(&text));
        let total = of_box.map_or(UNKNOWN_BYTES, |memory| memory.total_bytes);
        let groups = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
        let of_group = groups_of(&groups)
            .into_iter()
            .filter_map(|group| group.memory(total))
            .map(|memory| memory.total_bytes)
            .min();
        (total, of_group)
    }

    /// What is available of the total, in percent, rounded down.
    pub(super) fn available_percent(self) -> u32 {
        let percent = u128::from(self.available_bytes) * 100 / u128::from(self.total_bytes.max(1));
        u32::try_from(percent).unwrap_or(100).min(100)
    }
}

/// The share of time in which some task waited for memory, over ten seconds, in percent (pressure stall information:
/// Documentation/accounting/psi.rst); `None` where the kernel does not say.
pub(crate) fn memory_stall_percent() -> Option<f64> {
    let groups = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    groups_of(&groups)
        .into_iter()
        .filter(|group| group.unified)
        .map(|group| group.folder.join("memory.pressure"))
        .chain([PathBuf::from("/proc/pressure/memory")])
        .filter_map(|file| some_avg10(&read(&file)?))
        .max_by(f64::total_cmp)
}

fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// proc_meminfo(5).
fn of_meminfo(text: &str) -> Option<BoxMemory> {
    let field = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        let kib: u64 = line.split_ascii_whitespace().nth(1)?.parse().ok()?;
        kib.checked_mul(1024)
    };
    Some(BoxMemory {
        total_bytes: field("MemTotal:")?,
        available_bytes: field("MemAvailable:")?,
    })
}

fn some_avg10(text: &str) -> Option<f64> {
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let avg10 = some
        .split_ascii_whitespace()
        .find_map(|field| field.strip_prefix("avg10="))?;
    avg10.parse().ok()
}

/// A control group with a memory controller (cgroups(7)).
#[derive(Debug, PartialEq, Eq)]
struct Group {
    folder: PathBuf,
    /// Version 2.
    unified: bool,
}

impl Group {
    /// What it leaves its processes; `None` where it has no limit below `box_bytes`.
    fn memory(&self, box_bytes: u64) -> Option<BoxMemory> {
        let (limit, used, inactive) = if self.unified {
            ("memory.max", "memory.current", "inactive_file ")
        } else {
            (
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
                "total_inactive_file ",
            )
        };
        let number = |file: &str| read(&self.folder.join(file))?.trim().parse::<u64>().ok();
        // Without a limit the one hierarchy says `max`, the other a number beyond all memory.
        let limit = number(limit).filter(|limit| *limit < box_bytes)?;
        let used = number(used)?;
        let stat = read(&self.folder.join("memory.stat")).unwrap_or_default();
        // The kernel takes back file pages that nobody used lately before it ends anybody.
        let inactive = stat
            .lines()
            .find_map(|line| line.strip_prefix(inactive)?.trim().parse::<u64>().ok())
            .unwrap_or(0);
        Some(BoxMemory {
            total_bytes: limit,
            available_bytes: limit.saturating_sub(used.saturating_sub(inactive)),
        })
    }
}

/// The groups in `/proc/self/cgroup` that count memory, and those above them, in both hierarchies.
fn groups_of(text: &str) -> Vec<Group> {
    let mut groups = Vec::new();
    for line in text.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        let unified = controllers.is_empty();
        let root = if unified {
            "/sys/fs/cgroup"
        } else if controllers.split(',').any(|name| name == "memory") {
            "/sys/fs/cgroup/memory"
        } else {
            continue;
        };
        let mut path = path.trim_end_matches('/');
        loop {
            groups.push(Group {
                folder: PathBuf::from(format!("{root}{path}")),
                unified,
            });
            match path.rsplit_once('/') {
                Some((above, _)) => path = above,
                None => break,
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_are_understood() {
        let meminfo = "MemTotal:  949504 kB\nMemFree:  100 kB\nMemAvailable:  94950 kB\n";
        let memory = of_meminfo(meminfo).unwrap();
        assert_eq!(memory.total_bytes, 949_504 * 1024);
        assert_eq!(memory.available_percent(), 9);
        let groups = "5:memory:/box/node\n1:name=systemd:/\n0::/system.slice/littorald.service\n";
        let folders: Vec<_> = groups_of(groups)
            .into_iter()
            .map(|group| group.folder.display().to_string())
            .collect();
        assert_eq!(
            folders,
            [
                "/sys/fs/cgroup/memory/box/node",
                "/sys/fs/cgroup/memory/box",
                "/sys/fs/cgroup/memory",
                "/sys/fs/cgroup/system.slice/littorald.service",
                "/sys/fs/cgroup/system.slice",
                "/sys/fs/cgroup",
            ]
        );
        let psi = "some avg10=1.25 avg60=0.10 avg300=0.00 total=9\nfull avg10=0.50 avg60=0 avg300=0 total=1\n";
        assert_eq!(some_avg10(psi), Some(1.25));
        assert!(BoxMemory::total_bytes() >= 64 << 20);
        assert!(BoxMemory::now().available_percent() <= 100);
    }

    #[test]
    fn a_group_leaves_what_is_neither_used_nor_can_be_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("memory.max", "1000000\n");
        write("memory.current", "900000\n");
        write(
            "memory.stat",
            "anon 1\ninactive_file 300000\nactive_file 5\n",
        );
        let group = Group {
            folder: folder.path().to_owned(),
            unified: true,
        };
        let memory = group.memory(1 << 30).unwrap();
        assert_eq!(
            (memory.total_bytes, memory.available_bytes),
            (1_000_000, 400_000)
        );
        write("memory.max", "max\n");
        assert_eq!(group.memory(1 << 30), None);
    }
}
