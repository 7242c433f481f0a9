//! Requests to very many tenants: the first to each, then by Zipf, and to the hottest alone, beside a node that has no
//! other tenant.

use std::path::Path;
use std::time::Duration;

use littoral_tests::TestEdge;
use littoral_tests::measure::{
    Line, Load, Outcome, Pace, Pick, Plot, Scale, Spread, Table, Zipf, each_once, memory_kib,
    number, percentile, ratios, tree,
};
use serde_json::json;

use crate::Part;
use crate::publish;

/// First requests to modules that are on disk and not in memory, of a node just started.
pub(crate) async fn first_requests(most: usize) -> Part {
    let (mut edge, _) = publish::node(most).await;
    let asked = most.min(number("FIRSTS", 2000) as usize);
    let requests: Vec<_> = (1..asked).map(publish::request).collect();
    let hottest = [publish::request(0)];
    // The hottest of all pays for what the worker does once.
    each_once(edge.http(), &hottest);
    let mut found = vec![("files in the page cache", each_once(edge.http(), &requests))];
    edge.restart().await;
    if drop_page_cache() {
        each_once(edge.http(), &hottest);
        found.push(("files on disk only", each_once(edge.http(), &requests)));
    }
    let again = publish::compiled_again(&edge);
    assert_eq!(again, 0, "artifacts were compiled again");
    edge.stop().await;
    let mut table = Table::new(&["first request to each module", "p50", "p90", "p99", "worst"]);
    let ms = |times: &[u32], share: f64| f64::from(percentile(times, share)) / 1000.0;
    let shares = [0.5, 0.9, 0.99, 1.0];
    for (name, times) in &found {
        let cells = shares.map(|share| format!("{:.2} ms", ms(times, share)));
        table.row([(*name).to_owned()].into_iter().chain(cells));
    }
    let lines = found.iter().map(|(name, times)| Line {
        name: (*name).to_owned(),
        points: (0..=200)
            .map(|step| f64::from(step) / 200.0)
            .map(|share| (ms(times, share).max(0.001), share * 100.0))
            .collect(),
    });
    let plot = Plot {
        title: "First request to a module that is not in memory",
        x: ("ms", Scale::Tens),
        y: ("% answered by then", Scale::Even),
        lines: lines.collect(),
    };
    let figures = found.iter().map(|(name, times)| {
        json!({ "files": name, "modules": times.len(), "p50_ms": ms(times, 0.5), "p99_ms": ms(times, 0.99), "rounds": times })
    });
    Part {
        name: "first-requests",
        text: table.text().to_owned(),
        json: figures.collect(),
        pictures: vec![("first-requests", plot.svg())],
    }
}

/// Only root may; elsewhere files that were just written or read are in memory.
fn drop_page_cache() -> bool {
    rustix::fs::sync();
    std::fs::write(Path::new("/proc/sys/vm/drop_caches"), "3").is_ok()
}

/// Throughput of many tenants and of one, interleaved.
pub(crate) async fn zipf(most: usize) -> Part {
    let (many, _) = publish::node(most).await;
    let (one, _) = publish::node(1).await;
    let load = |edge: &TestEdge, requests: Vec<Vec<u8>>, pick: Pick, span: u32| Load {
        address: edge.http(),
        requests,
        pick,
        connections: 64,
        pace: Pace::Closed,
        span: Duration::from_secs(span.into()),
    };
    let hottest = || vec![publish::request(0)];
    let all: Vec<_> = (0..most).map(publish::request).collect();
    let by_rank = Pick::Zipf(Zipf::new(most));
    let seconds = number("SECONDS", 5);
    let mut loads = [
        (
            "one tenant on its node",
            load(&one, hottest(), Pick::InTurn, seconds),
        ),
        ("all tenants, Zipf 1.0", load(&many, all, by_rank, seconds)),
        (
            "the hottest tenant of all",
            load(&many, hottest(), Pick::InTurn, seconds),
        ),
    ];
    // Which code stands ready has to settle first.
    loads[1].1.span = Duration::from_secs(u64::from(seconds) * 3);
    let settling = loads[1].1.run();
    loads[1].1.span = loads[0].1.span;
    let (mut rss, mut outcomes) = (0, [const { Vec::<Outcome>::new() }; 3]);
    for _ in 0..number("ROUNDS", 5) {
        for (at, (name, load)) in loads.iter().enumerate() {
            let outcome = load.run();
            println!(
                "{name:28} {:>8.0}/s  p99 {:.2} ms  {} bad {:?}",
                outcome.per_s(),
                outcome.ms(0.99),
                outcome.bad(),
                outcome.statuses
            );
            outcomes[at].push(outcome);
            if at == 1 {
                rss = rss.max(memory_kib(&tree(many.pid()), "VmRSS"));
            }
        }
    }
    let again = publish::compiled_again(&many);
    assert_eq!(again, 0, "artifacts were compiled again");
    let resident = many.status().await.worker.resident_modules;
    let rates = outcomes
        .each_ref()
        .map(|rounds| rounds.iter().map(Outcome::per_s).collect::<Vec<_>>());
    let mut table = Table::new(&[
        "",
        "requests/s (least to most)",
        "to one tenant on its node",
        "p99",
        "not 200",
    ]);
    let mut figures = Vec::new();
    for (at, (name, _)) in loads.iter().enumerate() {
        let (spread, ratio) = (
            Spread::of(rates[at].iter().copied()),
            ratios(&rates[at], &rates[0]),
        );
        let p99 = Spread::of(outcomes[at].iter().map(|round| round.ms(0.99))).median;
        let bad: u64 = outcomes[at].iter().map(Outcome::bad).sum();
        table.row([
            (*name).to_owned(),
            format!(
                "{:.0} ({:.0} to {:.0})",
                spread.median, spread.min, spread.max
            ),
            ratio.to_string(),
            format!("{p99:.2} ms"),
            bad.to_string(),
        ]);
        figures.push(json!({ "load": name, "per_s": spread.json(), "rounds": rates[at], "ratio": ratio.json(), "p99_ms": p99, "bad": bad }));
    }
    let rss_mib = rss as f64 / 1024.0;
    let text = format!(
        "{}\nRSS of all processes under that load: {rss_mib:.1} MiB, with {resident} modules in memory; {} requests not answered 200 while it settled.\n",
        table.text(),
        settling.bad()
    );
    Part {
        name: "traffic",
        text,
        json: json!({ "loads": figures, "rss_mib": rss_mib, "resident_modules": resident, "settling_bad": settling.bad() }),
        pictures: Vec::new(),
    }
}
