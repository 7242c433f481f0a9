//! The report for boxes with given figures.

use edge_config::Config;
use proptest::prelude::*;

use super::page::bytes;
use super::*;
use crate::engine::BoxFigures;

const MIB: u64 = 1 << 20;

/// A board with 4 cores and 1 GiB in 39 bits, with a kernel that has everything.
fn board() -> Facts {
    Facts {
        architecture: "aarch64",
        cpu_features: vec![
            Feature {
                name: "lse",
                present: true,
            },
            Feature {
                name: "paca",
                present: false,
            },
        ],
        figures: BoxFigures {
            address_space_bytes: 1 << 39,
            maps_max: 65_530,
            cores: 4,
            page_bytes: 4096,
            pagemap_scan: true,
        },
        box_memory_bytes: 949 * MIB,
        group_memory_bytes: None,
        address_limit_bytes: None,
        descriptors_max: 524_288,
        kernel: Kernel {
            release: "6.12.34+rpt-rpi-v8".to_owned(),
            landlock_version: 6,
            seccomp: true,
            memory_pressure: true,
            strict_overcommit: false,
        },
    }
}

fn report(facts: Facts, config: &str) -> Report {
    let nothing: [(&str, &str); 0] = [];
    Report::of(&Config::parse(config, nothing).unwrap(), facts)
}

fn has(report: &Report, words: &str) -> bool {
    report.advice.iter().any(|line| line.contains(words))
}

#[test]
fn a_board_is_told_its_pool_and_the_way_to_guard_pages() {
    let report = report(board(), "");
    let pool = report.pool.as_ref().unwrap();
    assert_eq!((pool.instances_max, pool.bound), (948, Bound::Memory));
    assert!(!pool.guard_pages);
    assert_eq!(report.advice.len(), 1, "{:?}", report.advice);
    assert!(has(&report, "worker.instances_max = 62"));
    let sixteen = report.sizes.iter().find(|row| row.memory_bytes == 16 * MIB);
    let sixteen = sixteen.unwrap();
    assert_eq!((sixteen.instances, sixteen.decided_by), (29, Least::Memory));
    // Slots of 64 MiB hold nothing larger.
    assert_eq!(report.sizes.last().unwrap().memory_bytes, 64 * MIB);
    let page = report.to_string();
    for words in [
        "39 bits: 512 GiB",
        "948, by the memory for guests",
        "compact",
        "128 KiB",
        "948  count",
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }
}

#[test]
fn a_box_that_lacks_nothing_is_told_so() {
    let mut facts = board();
    facts.figures.address_space_bytes = 1 << 47;
    let report = report(facts, "");
    assert!(report.advice.is_empty(), "{:?}", report.advice);
    assert!(report.to_string().ends_with("What to change\n  nothing\n"));
}

#[test]
fn whatever_the_box_lacks_is_named_with_its_remedy() {
    let mut facts = board();
    facts.figures.maps_max = 2_000;
    facts.figures.pagemap_scan = false;
    facts.descriptors_max = 4_096;
    facts.address_limit_bytes = Some(1 << 39);
    facts.group_memory_bytes = Some(600 * MIB);
    facts.kernel = Kernel {
        landlock_version: 0,
        seccomp: false,
        memory_pressure: false,
        strict_overcommit: true,
        ..facts.kernel
    };
    let report = report(facts, "[memory]\nguests_mib_max = 550");
    for words in [
        "vm.max_map_count = 5868",
        "there would be 1100",
        "PAGEMAP_SCAN",
        "landlock",
        "CONFIG_SECCOMP_FILTER",
        "CONFIG_PSI",
        "vm.overcommit_memory",
        "LimitNOFILE",
        "RLIMIT_AS",
        "budgets of [memory] come to",
    ] {
        assert!(has(&report, words), "{words}: {:?}", report.advice);
    }
    assert!(report.to_string().contains("600 MiB by control group"));
}

#[test]
fn a_pool_that_does_not_fit_is_refused_with_what_to_change() {
    let report = report(board(), "[worker]\ninstances_max = 50000");
    assert!(!report.can_start());
    assert!(has(&report, "raise the sysctl vm.max_map_count"));
    assert!(report.sizes.is_empty());
    assert!(report.to_string().contains("  none"));
    let shown = serde_json::to_value(&report).unwrap();
    assert!(shown["pool"].is_null() && shown["refused"].is_string());
}

#[test]
fn large_guests_cost_instances_where_addresses_are_few() {
    let mut facts = board();
    facts.box_memory_bytes = 8192 * MIB;
    let report = report(facts, "[limits]\ninstance_memory_mib_max = 512\n");
    let pool = report.pool.as_ref().unwrap();
    assert_eq!(pool.bound, Bound::Addresses);
    assert!(has(
        &report,
        "lower limits.instance_memory_mib_max (now 512"
    ));
}

#[test]
fn bytes_are_written_in_the_largest_unit() {
    for (count, text) in [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (64 * MIB, "64 MiB"),
        (u64::MAX, "15.9 EiB"),
    ] {
        assert_eq!(bytes(count), text);
    }
}

proptest! {
    #[test]
    fn no_box_makes_the_doctor_stumble(
        bits in 0_u32..64, maps_max: u64, cores: u32, memory: u64, group: Option<u64>, descriptors_max: u64, named in 0..100_000,
    ) {
        let mut facts = board();
        facts.figures.address_space_bytes = 1 << bits;
        facts.figures.maps_max = maps_max;
        facts.figures.cores = cores;
        facts.box_memory_bytes = memory;
        facts.group_memory_bytes = group;
        facts.descriptors_max = descriptors_max;
        let report = report(facts, &format!("[worker]\ninstances_max = {named}"));
        prop_assert!(!report.to_string().is_empty());
        prop_assert!(serde_json::to_string(&report).is_ok());
        for row in &report.sizes {
            prop_assert!(row.instances <= row.by_memory && row.instances <= row.by_count);
            prop_assert!(row.instances <= row.by_addresses);
        }
    }
}
