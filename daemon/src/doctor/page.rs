//! The report as a page for people.

use std::fmt::{Display, Formatter, Result};

use super::{Feature, Least, PoolShown, Report};
use crate::engine::Bound;

/// Columns of words before the value.
const LABEL: usize = 22;
/// A line of advice is broken after so many columns.
const WIDTH: usize = 96;

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        self.write_box(f)?;
        self.write_budgets(f)?;
        match (&self.pool, &self.refused) {
            (Some(pool), _) => {
                write_pool(f, pool)?;
                self.write_sizes(f)?;
            }
            (None, why) => {
                heading(f, "Instances")?;
                line(f, "none", why.as_deref().unwrap_or_default())?;
            }
        }
        heading(f, "What to change")?;
        if self.advice.is_empty() {
            writeln!(f, "  nothing")?;
        }
        for advice in &self.advice {
            write_wrapped(f, advice)?;
        }
        Ok(())
    }
}

impl Report {
    fn write_box(&self, f: &mut Formatter<'_>) -> Result {
        let facts = &self.facts;
        heading(f, "Box")?;
        line(f, "architecture", facts.architecture)?;
        line(f, "used of the CPU", &names(&facts.cpu_features, true))?;
        line(f, "not there", &names(&facts.cpu_features, false))?;
        line(f, "cores", &facts.figures.cores.to_string())?;
        let memory = match facts.group_memory_bytes {
            None => bytes(facts.box_memory_bytes),
            Some(group) => format!(
                "{} by control group, of {}",
                bytes(group),
                bytes(facts.box_memory_bytes)
            ),
        };
        line(f, "memory", &memory)?;
        let addresses = format!(
            "{} bits: {}{}",
            facts.address_bits(),
            bytes(facts.figures.address_space_bytes),
            facts.address_limit_bytes.map_or("", |_| ", by RLIMIT_AS")
        );
        line(f, "addresses", &addresses)?;
        line(f, "page", &bytes(facts.figures.page_bytes))?;
        line(f, "vm.max_map_count", &facts.figures.maps_max.to_string())?;
        line(f, "descriptors", &facts.descriptors_max.to_string())?;
        let kernel = &facts.kernel;
        line(f, "kernel", &kernel.release)?;
        line(f, "  pagemap scan", yes(facts.figures.pagemap_scan))?;
        let landlock = match kernel.landlock_version {
            0 => "missing".to_owned(),
            version => format!("used, version {version}"),
        };
        line(f, "  landlock", &landlock)?;
        line(f, "  seccomp", yes(kernel.seccomp))?;
        line(f, "  memory pressure", yes(kernel.memory_pressure))
    }

    fn write_budgets(&self, f: &mut Formatter<'_>) -> Result {
        heading(f, "Memory")?;
        line(f, "guests", &bytes(self.budgets.guests_bytes))?;
        line(f, "kept between them", &bytes(self.budgets.kept_bytes))?;
        line(f, "code", &bytes(self.budgets.code_bytes))?;
        line(f, "buffers", &bytes(self.budgets.buffers_bytes))
    }

    fn write_sizes(&self, f: &mut Formatter<'_>) -> Result {
        heading(f, "Instances at once, by size of their memory")?;
        writeln!(
            f,
            "  {:>9}  {:>11}  {:>9}  {:>9}  {:>9}  decided by",
            "each", "addresses", "memory", "count", "at once"
        )?;
        for row in &self.sizes {
            let decided = match row.decided_by {
                Least::Count => "count",
                Least::Memory => "memory",
                Least::Addresses => "addresses",
            };
            writeln!(
                f,
                "  {:>9}  {:>11}  {:>9}  {:>9}  {:>9}  {decided}",
                bytes(row.memory_bytes),
                row.by_addresses,
                row.by_memory,
                row.by_count,
                row.instances
            )?;
        }
        Ok(())
    }
}

fn write_pool(f: &mut Formatter<'_>, pool: &PoolShown) -> Result {
    heading(f, "Instances")?;
    let why = match pool.bound {
        Bound::Configured => "as worker.instances_max says",
        Bound::Memory => "by the memory for guests, 512 KiB each",
        Bound::Cores => "by cores, 1000 each",
        Bound::Maps => "by vm.max_map_count, 4 maps each of three quarters",
        Bound::Addresses => "by addresses, of which the pool takes half",
        Bound::Most => "more are not made unless asked for",
    };
    line(f, "at most", &format!("{}, {why}", pool.instances_max))?;
    let bounds = &pool.bounds;
    let each = format!(
        "memory {}, cores {}, maps {}, addresses {} with guard pages or {} compact, at most {}",
        bounds.memory, bounds.cores, bounds.maps, bounds.guarded, bounds.compact, bounds.most
    );
    line(f, "each bound alone", &each)?;
    let layout = if pool.guard_pages {
        "guard pages: compiled code checks no bounds"
    } else {
        "compact: compiled code checks bounds"
    };
    line(f, "layout", layout)?;
    let slot = format!(
        "{}, of which {} guard; a memory grows to {} at most",
        bytes(pool.slot_bytes),
        bytes(pool.guard_bytes),
        bytes(pool.memory_bytes_max)
    );
    line(f, "slot", &slot)?;
    line(f, "reserved addresses", &bytes(pool.reserved_bytes))?;
    let kept = format!(
        "{} each at most ({} of memory), {} together; {} slots stand ready",
        bytes(pool.kept_bytes_per_instance),
        bytes(pool.kept_memory_bytes_per_instance),
        bytes(pool.kept_bytes_max),
        pool.warm_slots
    );
    line(f, "kept when they end", &kept)
}

fn heading(f: &mut Formatter<'_>, text: &str) -> Result {
    writeln!(f, "{text}")
}

fn line(f: &mut Formatter<'_>, label: &str, value: &str) -> Result {
    writeln!(f, "  {label:LABEL$}{value}")
}

fn yes(used: bool) -> &'static str {
    if used { "used" } else { "missing" }
}

fn names(features: &[Feature], present: bool) -> String {
    let names: Vec<_> = features
        .iter()
        .filter(|feature| feature.present == present)
        .map(|feature| feature.name)
        .collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(" ")
    }
}

/// A line of advice, its further lines set in.
fn write_wrapped(f: &mut Formatter<'_>, text: &str) -> Result {
    let mut column = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if column == 0 {
            write!(f, "  - {word}")?;
            column = 4 + length;
        } else if column + 1 + length > WIDTH {
            write!(f, "\n    {word}")?;
            column = 4 + length;
        } else {
            write!(f, " {word}")?;
            column += 1 + length;
        }
    }
    writeln!(f)
}

/// So many bytes in the largest unit of which there is one, to one digit after the point; exact where that is whole.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let power = count.checked_ilog2().map_or(0, |bits| bits / 10);
    let unit = UNITS.get(usize::try_from(power).unwrap_or(0));
    let whole = count >> (10 * power);
    let tenths = (u128::from(count - (whole << (10 * power))) * 10) >> (10 * power);
    let unit = unit.copied().unwrap_or("B");
    if tenths == 0 {
        format!("{whole} {unit}")
    } else {
        format!("{whole}.{tenths} {unit}")
    }
}
