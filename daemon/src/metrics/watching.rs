//! What watches a node, in `deploy`, asks only for what there is, and says of each alert what to do.

use std::collections::BTreeSet;

use super::family::{NODE_FAMILIES, PROCESS_FAMILIES};

const RULES: &str = include_str!("../../../deploy/prometheus/littoral.rules.yml");
const CASES: &str = include_str!("../../../deploy/prometheus/littoral.rules.test.yml");
const DASHBOARD: &str = include_str!("../../../deploy/grafana/littoral.json");
const RUNBOOK: &str = include_str!("../../../deploy/README.md");
const PAGE: &str = include_str!("METRICS.md");
/// Labels whose values are a closed list of the page.
const CLOSED_LABELS: [&str; 8] = [
    "reason",
    "status_class",
    "state",
    "outcome",
    "recovery",
    "step",
    "process",
    "barrier",
];

/// The values of a key of this indentation or any other, in the order of the file.
fn values<'a>(yaml: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    yaml.lines()
        .filter_map(move |line| line.trim_start_matches([' ', '-']).strip_prefix(key))
        .map(str::trim)
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))
}

/// Names of series: of each family, and for a histogram those of its parts.
fn series() -> BTreeSet<String> {
    let families = NODE_FAMILIES.iter().chain(PROCESS_FAMILIES);
    families
        .flat_map(|family| {
            let parts: &[&str] = match format!("{:?}", family.kind).as_str() {
                "HISTOGRAM" => &["_bucket", "_sum", "_count"],
                _ => &[""],
            };
            parts.iter().map(|part| format!("{}{part}", family.name))
        })
        .collect()
}

#[test]
fn rules_and_dashboard_name_only_series_that_there_are() {
    let (series, recorded) = (series(), values(RULES, "record:").collect::<BTreeSet<_>>());
    assert!(recorded.len() > 3, "{recorded:?}");
    let mut seen = 0;
    for (place, text) in [("rules", RULES), ("cases", CASES), ("dashboard", DASHBOARD)] {
        for word in words(text) {
            let is_recorded = word.contains(":littoral_");
            if is_recorded {
                assert!(recorded.contains(word), "{place}: {word} is not recorded");
            } else if word.starts_with("littoral_") {
                assert!(series.contains(word), "{place}: there is no {word}");
                seen += 1;
            }
        }
    }
    assert!(seen > 100, "{seen}");
}

#[test]
fn rules_and_dashboard_ask_only_for_values_that_labels_have() {
    let mut seen = 0;
    for (place, text) in [("rules", RULES), ("dashboard", DASHBOARD)] {
        let text = text.replace("\\\"", "\"");
        for label in CLOSED_LABELS {
            for operator in ["=\"", "=~\"", "!=\"", "!~\""] {
                let matcher = format!("{label}{operator}");
                for (_, rest) in text
                    .match_indices(&matcher)
                    .map(|(at, _)| text.split_at(at))
                {
                    let value = rest
                        .get(matcher.len()..)
                        .and_then(|rest| rest.split('"').next());
                    for value in value.unwrap_or_default().split('|') {
                        assert!(
                            PAGE.contains(&format!("`{value}`")),
                            "{place}: {label} is never {value:?}"
                        );
                        seen += 1;
                    }
                }
            }
        }
    }
    assert!(seen > 15, "{seen}");
}

#[test]
fn each_alert_has_a_severity_a_case_that_raises_it_and_a_section_of_the_runbook() {
    let alerts: Vec<_> = values(RULES, "alert:").collect();
    assert!(alerts.len() > 15, "{alerts:?}");
    let sections: Vec<_> = RUNBOOK
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .filter(|title| title.starts_with("Littoral"))
        .collect();
    assert_eq!(sections, alerts, "the runbook, in the order of the rules");
    for alert in alerts {
        let anchor = format!("deploy/README.md#{}", alert.to_lowercase());
        assert!(RULES.contains(&format!("runbook: {anchor}\n")), "{alert}");
        let raised = format!("runbook: \"{anchor}\"");
        assert!(CASES.contains(&raised), "{alert} is raised by no case");
    }
    let severities = values(RULES, "labels: { severity:").collect::<BTreeSet<_>>();
    assert_eq!(
        severities,
        BTreeSet::from(["critical }", "info }", "warning }"])
    );
}
