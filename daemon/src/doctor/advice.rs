//! What an operator could change, each with what it would bring. Says nothing about what is as good as it gets.

use edge_config::Config;

use super::page::bytes;
use super::{PoolShown, Report};
use crate::engine::Bound;

/// Descriptors that a worker needs beside its connections: sockets, artifacts on their way, the link.
const DESCRIPTORS_BESIDE: u64 = 512;
/// With less of its memory kept, most guests take page faults in each instance, in bytes.
const KEPT_MEMORY_BYTES_LOW: u64 = 32 << 10;
/// Slots are never laid out for less, whatever tenants get by default, in MiB.
const SLOT_MIB_MIN: u64 = 64;

pub(super) fn of(report: &Report, config: &Config) -> Vec<String> {
    let mut advice: Vec<String> = report.refused.iter().cloned().collect();
    if let Some(pool) = &report.pool {
        advice.extend(more_instances(report, pool, config));
        advice.extend(guard_pages(pool, config));
        advice.extend(kept(report, pool));
    }
    advice.extend(budgets(report));
    advice.extend(limits(report, config));
    advice.extend(kernel(report));
    advice
}

/// What would give more instances, where the box could carry them.
fn more_instances(report: &Report, pool: &PoolShown, config: &Config) -> Option<String> {
    let have = pool.instances_max;
    let bounds = &pool.bounds;
    match pool.bound {
        Bound::Maps => {
            let could = bounds.memory.min(bounds.cores).min(bounds.most);
            // An instance takes 4 maps, and a quarter of all is for other things.
            let maps = could.saturating_mul(4).div_ceil(3).saturating_mul(4);
            Some(format!(
                "memory maps hold the pool at {have} instances: with the sysctl vm.max_map_count = {maps} (now {}) \
                 there would be {could}",
                report.facts.figures.maps_max
            ))
        }
        Bound::Addresses => {
            let mib = config.limits.instance_memory_mib_max;
            let smaller = if mib > SLOT_MIB_MIN {
                format!(
                    "lower limits.instance_memory_mib_max (now {mib}; slots are never laid out for less than \
                     {SLOT_MIB_MIN}), "
                )
            } else {
                String::new()
            };
            Some(format!(
                "addresses hold the pool at {have} instances: {smaller}or use a kernel with more address bits"
            ))
        }
        Bound::Configured => {
            let by_memory = bounds.memory;
            (u64::from(have) > by_memory.saturating_mul(4)).then(|| {
                format!(
                    "worker.instances_max is {have}, and the budget of guests is for some {by_memory}: most of the \
                     slots cannot be in use at once; 0 sizes the pool from the box"
                )
            })
        }
        Bound::Memory | Bound::Cores | Bound::Most => None,
    }
}

fn guard_pages(pool: &PoolShown, config: &Config) -> Option<String> {
    if pool.guard_pages {
        return None;
    }
    let fit = pool.bounds.guarded;
    let address = format!(
        "compiled code checks its bounds, since {} instances with guard pages do not fit the address space",
        pool.instances_max
    );
    Some(if fit == 0 {
        format!("{address}; none would")
    } else {
        format!(
            "{address}; {fit} would: worker.instances_max = {fit} (now {}) makes guests that compute faster",
            config.worker.instances_max
        )
    })
}

fn kept(report: &Report, pool: &PoolShown) -> Option<String> {
    let kept = pool.kept_memory_bytes_per_instance;
    // Without the scan there is a line of its own.
    (report.facts.figures.pagemap_scan && kept < KEPT_MEMORY_BYTES_LOW).then(|| {
        format!(
            "an ended instance leaves {} of its memory to the next: raise memory.kept_mib_max or lower \
             worker.instances_max for fewer page faults",
            bytes(kept)
        )
    })
}

fn budgets(report: &Report) -> Option<String> {
    let budgets = &report.budgets;
    let all = [
        budgets.guests_bytes,
        budgets.kept_bytes,
        budgets.code_bytes,
        budgets.buffers_bytes,
    ]
    .into_iter()
    .fold(0, u64::saturating_add);
    let have = report.facts.memory_bytes();
    (all > have / 100 * 90).then(|| {
        format!(
            "the budgets of [memory] come to {} of {}: leave a tenth of it for the node itself and the system",
            bytes(all),
            bytes(have)
        )
    })
}

fn limits(report: &Report, config: &Config) -> Vec<String> {
    let mut advice = Vec::new();
    let needed = u64::from(config.http.connections_max).saturating_add(DESCRIPTORS_BESIDE);
    let have = report.facts.descriptors_max;
    if have < needed {
        advice.push(format!(
            "a process may have {have} descriptors, and http.connections_max = {} needs {needed}: raise the hard limit \
             (LimitNOFILE= in the unit, ulimit -Hn)",
            config.http.connections_max
        ));
    }
    if let Some(limit) = report.facts.address_limit_bytes {
        advice.push(format!(
            "RLIMIT_AS leaves this process {} of addresses: the node bounds memory by its budgets and needs none \
             (ulimit -v unlimited)",
            bytes(limit)
        ));
    }
    advice
}

fn kernel(report: &Report) -> Vec<String> {
    let kernel = &report.facts.kernel;
    let missing = [
        (
            !report.facts.figures.pagemap_scan,
            "this kernel has no PAGEMAP_SCAN (Linux 6.7): instances are reset by changing page tables, which costs \
             throughput",
        ),
        (
            kernel.landlock_version == 0,
            "there is no landlock: files are closed to guests by user and filter alone (CONFIG_SECURITY_LANDLOCK, and \
             landlock in the kernel's parameter lsm=)",
        ),
        (
            !kernel.seccomp,
            "system calls of the process that runs guests cannot be filtered (CONFIG_SECCOMP_FILTER)",
        ),
        (
            !kernel.memory_pressure,
            "the kernel does not say how long tasks stall for memory: the node sees a shortage later (CONFIG_PSI, and \
             psi=1 on the kernel's command line)",
        ),
        (
            kernel.strict_overcommit,
            "vm.overcommit_memory = 2 counts loaded components as if all of them were written to: use 0 or 1",
        ),
    ];
    missing
        .into_iter()
        .filter(|(is_so, _)| *is_so)
        .map(|(_, line)| line.to_owned())
        .collect()
}
