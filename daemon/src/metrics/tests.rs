//! The table, the page, the text and the sums agree.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, UNIX_EPOCH};

use control_api::error::PlaneError;
use proptest::prelude::*;

use super::family::{Family, NODE_FAMILIES, PROCESS_FAMILIES};
use super::*;
use crate::gateway::HandshakeOutcome;
use crate::link::{HandshakeCounts, TenantCounts, WorkerReport};
use crate::quota::{DURATION_BUCKETS_S, Refusal};
use crate::store::Recovery;

const PAGE: &str = include_str!("METRICS.md");

fn families() -> impl Iterator<Item = &'static &'static Family> {
    NODE_FAMILIES.iter().chain(PROCESS_FAMILIES)
}

fn counts(tenant: &str, n: u64) -> TenantCounts {
    TenantCounts {
        tenant: tenant.to_owned(),
        requests: n,
        refusals: vec![("deadline".to_owned(), n), ("trap".to_owned(), 1)],
        request_body_bytes: 10 * n,
        response_body_bytes: 100 * n,
        cpu_us: 1_500_000 * n,
        waiting_requests: 0,
        connections: 0,
        quarantine_left_ms: 0,
        concurrent_requests: n,
        memory_bytes: 65_536 * n,
        log_bytes_dropped: 7 * n,
        outbound: vec![("answered".to_owned(), n), ("dns".to_owned(), 1)],
        outbound_connections: 3 * n,
        outbound_bytes: [5 * n, 6 * n],
        duration_buckets: (0..=DURATION_BUCKETS_S.len() as u64).collect(),
        duration_sum_us: 2_000_000 * n,
        status_classes: [0, n, 0, 0, 1],
    }
}

fn report(tenants: Vec<TenantCounts>) -> WorkerReport {
    WorkerReport {
        tenants,
        unrouted: vec![("no-route".to_owned(), 3)],
        instances: 4,
        resting_instances: 3,
        reused: 6,
        resident_modules: 2,
        connections: 9,
        loads: 2,
        evictions: 1,
        resident_bytes: 300_000,
        buffer_bytes: 16_384,
        // The first is as long as a bound, which is in the bucket below it.
        load_us: vec![500, 30_000],
        handshakes: HandshakeCounts {
            outcomes: vec![("full".to_owned(), 2), ("busy".to_owned(), 1)],
            duration_buckets: vec![1, 1],
            duration_sum_us: 3_000,
            under_way: 5,
        },
    }
}

fn take(metrics: &Metrics, tenants: Vec<TenantCounts>) {
    metrics.report(
        &report(tenants),
        |_| true,
        UNIX_EPOCH + Duration::from_secs(1_790_000_000),
    );
}

/// Metrics in which every family has a sample.
fn filled() -> Metrics {
    let metrics = Metrics::new(8, "48.0.8");
    take(&metrics, vec![counts("acme", 2), counts("zeta", 5)]);
    metrics.worker_ready(true);
    metrics.worker_restarted();
    metrics.worker_started(std::process::id());
    metrics.compile_finished(CompileOutcome::Accepted, Duration::from_millis(70));
    metrics.artifact(ArtifactState::Compiled);
    metrics.upload(UploadEnd::Accepted);
    metrics.compile_queue(3);
    metrics.set_counts(2, 5, 4, 3);
    metrics.store(StoreFigures {
        healthy: true,
        transactions: 12,
        groups: 6,
        journal_bytes: 4096,
        journal_us: 1_000,
        ledger_us: 2_500_000,
        compactions: 2,
        rebuilds: 1,
        contents_bytes: 777,
        ledger_bytes: 888,
    });
    metrics.signed(Some(Duration::from_micros(80)));
    metrics.signed(None);
    metrics.certificates(1, BTreeMap::from([("acme".to_owned(), 86_400)]));
    metrics.recovery("intact");
    metrics.log_lines_dropped(11);
    metrics
}

/// Samples by name and labels, as in the text.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let twice = samples.insert(series.to_owned(), value.parse().unwrap());
        assert_eq!(twice, None, "{series} is there twice");
    }
    samples
}

fn scrape(metrics: &Metrics) -> BTreeMap<String, f64> {
    samples(&metrics.render().unwrap())
}

/// The sum of all samples of a name whose labels contain `part`.
fn sum(samples: &BTreeMap<String, f64>, name: &str, part: &str) -> f64 {
    samples
        .iter()
        .filter(|(series, _)| {
            let (own, labels) = series.split_once('{').unwrap_or((series, ""));
            own == name && labels.contains(part)
        })
        .map(|(_, value)| value)
        .sum()
}

fn label_values(samples: &BTreeMap<String, f64>, name: &str) -> Vec<String> {
    samples
        .keys()
        .filter_map(|series| {
            let labels = series.strip_prefix(name)?.strip_prefix("{tenant=\"")?;
            labels.split('"').next().map(str::to_owned)
        })
        .collect()
}

fn row(family: &Family) -> String {
    let labels = family
        .labels
        .iter()
        .map(|label| format!("`{label}`"))
        .collect::<Vec<_>>();
    format!(
        "| `{}` | {} | {} | {} | {} |",
        family.name,
        format!("{:?}", family.kind).to_lowercase(),
        family.unit,
        labels.join(", "),
        family.help
    )
}

#[test]
fn the_page_lists_every_family_as_it_is() {
    let expected = families().map(|family| row(family)).collect::<Vec<_>>();
    let written = PAGE
        .lines()
        .filter(|line| line.starts_with("| `littoral_"))
        .collect::<Vec<_>>();
    assert_eq!(
        written,
        expected,
        "the table in METRICS.md should be:\n{}",
        expected.join("\n")
    );
}

/// One of each; a new one does not compile here until it is listed.
fn recoveries() -> [Recovery; 6] {
    let all = [
        Recovery::Created,
        Recovery::Intact,
        Recovery::LedgerBehind {
            from_seq: 1,
            to_seq: 2,
        },
        Recovery::LedgerDiffered { seq: 1, keys: 1 },
        Recovery::LedgerRebuilt {
            moved_to: "broken".into(),
            reason: "damaged".to_owned(),
            seq: 1,
        },
        Recovery::ExportRewritten {
            from_seq: 1,
            to_seq: 2,
            reason: "damaged".to_owned(),
        },
    ];
    for recovery in &all {
        match recovery {
            Recovery::Created
            | Recovery::Intact
            | Recovery::LedgerBehind { .. }
            | Recovery::LedgerDiffered { .. }
            | Recovery::LedgerRebuilt { .. }
            | Recovery::ExportRewritten { .. } => {}
        }
    }
    all
}

#[test]
fn the_page_lists_every_closed_label_value() {
    let values = Refusal::ALL
        .iter()
        .map(|refusal| refusal.reason())
        .chain(ArtifactState::ALL.iter().map(|value| value.word()))
        .chain(UploadEnd::ALL.iter().map(|value| value.word()))
        .chain(CompileOutcome::ALL.iter().map(|value| value.word()))
        .chain(HandshakeOutcome::ALL.iter().map(|value| value.word()))
        .chain(counts::STATUS_CLASSES)
        .chain(recoveries().map(|recovery| recovery.label()));
    for value in values {
        assert!(PAGE.contains(&format!("`{value}`")), "{value} is missing");
    }
}

#[test]
fn what_is_rendered_is_what_the_table_says() {
    let text = filled().render().unwrap();
    let mut rendered = BTreeMap::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            rendered.insert(name.to_owned(), kind.to_owned());
        }
    }
    let expected = families()
        .map(|family| {
            (
                family.name.to_owned(),
                format!("{:?}", family.kind).to_lowercase(),
            )
        })
        .collect::<BTreeMap<_, _>>();
    assert_eq!(rendered, expected);

    for family in families() {
        let help = format!("# HELP {} {}\n", family.name, family.help);
        assert!(text.contains(&help), "{help}");
        for series in samples(&text).keys() {
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let base = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| name.strip_suffix(end))
                .filter(|base| *base == family.name)
                .unwrap_or(name);
            if base != family.name {
                continue;
            }
            let names = labels
                .trim_end_matches('}')
                .split("\",")
                .filter_map(|pair| pair.split_once('=').map(|(name, _)| name))
                .filter(|name| *name != "le")
                .collect::<BTreeSet<_>>();
            let expected = family.labels.iter().copied().collect::<BTreeSet<_>>();
            assert_eq!(names, expected, "{series}");
        }
    }
}

#[test]
fn a_tenant_has_as_many_series_as_the_page_says() {
    let samples = scrape(&filled());
    let series = samples
        .keys()
        .filter(|series| series.contains("tenant=\"acme\""))
        .count();
    let said = format!("Each tenant with a label has {series} series");
    assert!(PAGE.contains(&said), "{said}");
}

#[test]
fn names_follow_the_rules_of_the_house() {
    let mut seen = BTreeSet::new();
    for family in families() {
        let counter = format!("{:?}", family.kind) == "COUNTER";
        assert!(family.name.starts_with("littoral_"), "{}", family.name);
        assert_eq!(family.name.ends_with("_total"), counter, "{}", family.name);
        assert!(seen.insert(family.name), "{} twice", family.name);
    }
}

#[test]
fn promtool_finds_nothing_to_say() {
    for metrics in [Metrics::new(8, "48.0.8"), filled()] {
        let text = metrics.render().unwrap();
        let child = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                assert_ne!(
                    std::env::var("CI").as_deref(),
                    Ok("true"),
                    "promtool is not on PATH; in CI this check must run: install the Debian package `prometheus`"
                );
                println!(
                    "skipped: promtool is not on PATH (Debian package `prometheus`), the metrics were not checked by it"
                );
                return;
            }
            Err(error) => panic!("promtool does not start: {error}"),
        };
        child
            .stdin
            .take()
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(
            output.status.success() && said.trim().is_empty(),
            "promtool check metrics: {}\n{said}",
            output.status
        );
    }
}

#[test]
fn figures_come_out_in_base_units() {
    let samples = scrape(&filled());
    let expected = [
        ("littoral_requests_total{tenant=\"zeta\"}", 5.0),
        (
            "littoral_refusals_total{tenant=\"acme\",reason=\"deadline\"}",
            2.0,
        ),
        (
            "littoral_refusals_total{tenant=\"\",reason=\"no-route\"}",
            3.0,
        ),
        (
            "littoral_responses_total{tenant=\"acme\",status_class=\"5xx\"}",
            1.0,
        ),
        ("littoral_guest_cpu_seconds_total{tenant=\"acme\"}", 3.0),
        ("littoral_guest_memory_bytes{tenant=\"acme\"}", 131_072.0),
        (
            "littoral_request_duration_seconds_sum{tenant=\"zeta\"}",
            10.0,
        ),
        (
            "littoral_request_duration_seconds_bucket{tenant=\"zeta\",le=\"0.0025\"}",
            3.0,
        ),
        (
            "littoral_request_duration_seconds_bucket{tenant=\"zeta\",le=\"+Inf\"}",
            105.0,
        ),
        (
            "littoral_request_duration_seconds_count{tenant=\"zeta\"}",
            105.0,
        ),
        ("littoral_artifact_load_duration_seconds_count", 2.0),
        (
            "littoral_artifact_load_duration_seconds_bucket{le=\"0.0005\"}",
            1.0,
        ),
        (
            "littoral_compile_duration_seconds_sum{outcome=\"accepted\"}",
            0.07,
        ),
        (
            "littoral_worker_last_report_timestamp_seconds",
            1_790_000_000.0,
        ),
        ("littoral_store_ledger_write_seconds_total", 2.5),
        ("littoral_worker_restarts_total", 1.0),
        ("littoral_tls_handshakes_total{outcome=\"full\"}", 2.0),
        ("littoral_tls_handshakes_under_way", 5.0),
        ("littoral_tls_signature_duration_seconds_count", 1.0),
        ("littoral_tls_signatures_refused_total", 1.0),
        (
            "littoral_certificate_expiry_seconds{tenant=\"acme\"}",
            86_400.0,
        ),
        ("littoral_log_dropped_lines_total", 11.0),
        (
            "littoral_build_info{version=\"0.1.0\",wasmtime=\"48.0.8\"}",
            1.0,
        ),
    ];
    for (series, value) in expected {
        assert_eq!(samples.get(series), Some(&value), "{series}");
    }
}

#[test]
fn processes_are_measured_while_they_are_there() {
    let metrics = filled();
    let samples = scrape(&metrics);
    for process in ["control", "worker"] {
        let of = |name: &str| samples[&format!("littoral_process_{name}{{process=\"{process}\"}}")];
        assert!(of("resident_memory_bytes") > 1_048_576.0);
        assert!(of("open_fds") >= 3.0);
        assert!(of("start_time_seconds") > 1_500_000_000.0);
    }
    metrics.worker_gone();
    let samples = scrape(&metrics);
    assert_eq!(
        sum(&samples, "littoral_process_open_fds", "process=\"worker\""),
        0.0
    );
}

#[test]
fn counts_survive_a_worker_and_gauges_do_not() {
    let metrics = filled();
    let before = metrics.totals("acme");
    assert_eq!((before.requests, before.concurrent_requests), (2, 2));
    metrics.worker_gone();
    metrics.worker_restarted();
    let gone = metrics.totals("acme");
    assert_eq!(
        gone,
        TenantTotals {
            concurrent_requests: 0,
            memory_bytes: 0,
            ..before
        }
    );
    let samples = scrape(&metrics);
    assert_eq!(samples["littoral_instances"], 0.0);
    assert_eq!(samples["littoral_worker_ready"], 0.0);
    assert_eq!(samples["littoral_worker_restarts_total"], 2.0);

    take(&metrics, vec![counts("acme", 1)]);
    assert_eq!(metrics.totals("acme").requests, 3);
    assert_eq!(metrics.totals("acme").refusals["trap"], 2);
    // Not in the new worker's report: nothing of it lives.
    assert_eq!(metrics.totals("zeta").concurrent_requests, 0);
    assert_eq!(metrics.totals("zeta").requests, 5);
}

#[test]
fn labels_are_bounded_and_usage_is_not() {
    let metrics = Metrics::new(2, "48.0.8");
    take(
        &metrics,
        vec![counts("a", 1), counts("b", 2), counts("c", 4)],
    );
    let samples = scrape(&metrics);
    assert_eq!(
        label_values(&samples, "littoral_requests_total"),
        ["a", "b", "other"]
    );
    assert_eq!(samples["littoral_requests_total{tenant=\"other\"}"], 4.0);
    assert_eq!(
        samples["littoral_concurrent_requests{tenant=\"other\"}"],
        4.0
    );
    assert_eq!(metrics.totals("c").requests, 4);

    // The label goes to the next that is reported; what that one used before stays in the sum.
    metrics.forget("a");
    take(&metrics, vec![counts("c", 8)]);
    let samples = scrape(&metrics);
    assert_eq!(
        label_values(&samples, "littoral_requests_total"),
        ["b", "c", "other"]
    );
    assert_eq!(samples["littoral_requests_total{tenant=\"c\"}"], 8.0);
    assert_eq!(samples["littoral_requests_total{tenant=\"other\"}"], 5.0);
    assert_eq!(metrics.totals("c").requests, 12);
    assert_eq!(metrics.totals("a"), TenantTotals::default());
}

#[test]
fn a_tenant_called_other_is_in_the_sum() {
    let metrics = Metrics::new(8, "48.0.8");
    take(&metrics, vec![counts("other", 3), counts("a", 1)]);
    let samples = scrape(&metrics);
    assert_eq!(samples["littoral_requests_total{tenant=\"other\"}"], 3.0);
    assert_eq!(metrics.totals("other").requests, 3);
}

#[test]
fn a_worker_cannot_invent_tenants_reasons_or_buckets() {
    let metrics = Metrics::new(8, "48.0.8");
    let mut odd = counts("ghost\"} 1\n", 1);
    odd.requests = u64::MAX;
    odd.refusals = vec![("because".to_owned(), 5)];
    odd.duration_buckets = vec![1; DURATION_BUCKETS_S.len() + 3];
    metrics.report(&report(vec![odd.clone(), odd]), |_| false, UNIX_EPOCH);
    let samples = scrape(&metrics);
    assert_eq!(label_values(&samples, "littoral_requests_total"), ["other"]);
    assert_eq!(
        samples["littoral_requests_total{tenant=\"other\"}"],
        u64::MAX as f64
    );
    assert_eq!(
        samples["littoral_worker_report_ignored_entries_total"],
        2.0 * (1.0 + 2.0)
    );
}

#[test]
fn refused_uploads_are_told_apart() {
    let cases = [
        (PlaneError::StatementMissing, UploadEnd::Statement),
        (PlaneError::BodyEmpty, UploadEnd::Body),
        (
            PlaneError::BodyBrokenOff { received_bytes: 1 },
            UploadEnd::BrokenOff,
        ),
        (
            PlaneError::DoesNotCompile { why: String::new() },
            UploadEnd::Component,
        ),
        (PlaneError::Draining, UploadEnd::Busy),
        (PlaneError::StoreUnavailable, UploadEnd::Failed),
    ];
    for (error, end) in cases {
        assert_eq!(UploadEnd::from(&error), end, "{error}");
    }
}

/// What may happen to the metrics, from outside.
#[derive(Debug, Clone)]
enum Step {
    Report(Vec<(u8, u64)>),
    Forget(u8),
    Gone,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => prop::collection::vec((0..8_u8, 0..1_000_u64), 0..6).prop_map(Step::Report),
        2 => (0..8_u8).prop_map(Step::Forget),
        1 => Just(Step::Gone),
    ];
    prop::collection::vec(step, 0..24)
}

fn name(tenant: u8) -> String {
    if tenant == 7 {
        "other".to_owned()
    } else {
        format!("t{tenant}")
    }
}

proptest! {
    // Each case renders up to some fifty times; what can go wrong shows within a few steps.
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Tenant 6 is never known, tenant 7 is called `other`.
    #[test]
    fn sums_over_tenants_are_what_was_reported(steps in steps(), labels_max in 0..5_usize) {
        let metrics = Metrics::new(labels_max, "48.0.8");
        let mut reported = 0;
        let mut used = BTreeMap::<String, u64>::new();
        let mut before = BTreeMap::<String, f64>::new();
        for step in steps {
            let mut forgotten = None;
            match step {
                Step::Report(tenants) => {
                    let tenants = tenants.iter().map(|(tenant, n)| counts(&name(*tenant), *n));
                    let report = report(tenants.collect());
                    metrics.report(&report, |tenant| tenant != "t6", UNIX_EPOCH);
                    for tenant in &report.tenants {
                        reported += tenant.requests;
                        if tenant.tenant != "t6" {
                            *used.entry(tenant.tenant.clone()).or_default() += tenant.requests;
                        }
                    }
                    let live: u64 = report.tenants.iter().map(|tenant| tenant.concurrent_requests).sum();
                    let samples = scrape(&metrics);
                    prop_assert_eq!(sum(&samples, "littoral_concurrent_requests", ""), live as f64);
                }
                Step::Forget(tenant) => {
                    metrics.forget(&name(tenant));
                    used.remove(&name(tenant));
                    forgotten = Some(format!("tenant=\"{}\"", name(tenant)));
                }
                Step::Gone => {
                    metrics.worker_gone();
                    let samples = scrape(&metrics);
                    prop_assert_eq!(sum(&samples, "littoral_concurrent_requests", ""), 0.0);
                }
            }
            let samples = scrape(&metrics);
            prop_assert_eq!(sum(&samples, "littoral_requests_total", ""), reported as f64);
            prop_assert_eq!(
                sum(&samples, "littoral_refusals_total", "reason=\"deadline\""),
                reported as f64
            );
            prop_assert_eq!(sum(&samples, "littoral_guest_cpu_seconds_total", ""), 1.5 * reported as f64);
            prop_assert_eq!(
                sum(&samples, "littoral_request_duration_seconds_sum", ""),
                2.0 * reported as f64
            );
            prop_assert!(label_values(&samples, "littoral_requests_total").len() <= labels_max + 1);
            for (tenant, requests) in &used {
                prop_assert_eq!(metrics.totals(tenant).requests, *requests);
            }
            for (series, value) in &before {
                let counter = series.contains("_total") && !series.contains("process");
                let gone = forgotten.as_ref().is_some_and(|tenant| series.contains(tenant) && !tenant.contains("other"));
                if counter && !gone {
                    prop_assert!(samples.get(series).is_some_and(|now| now >= value), "{} fell", series);
                }
            }
            before = samples;
        }
    }
}
