//! What a comparison found: as tables, as figures, as a picture.

use std::time::Duration;

use littoral_tests::measure::{Line, Outcome, Plot, Scale, Spread, Table, median, ratios};
use serde_json::{Value, json};

use crate::drive::Throughput;
use crate::side::Who;

/// What came of it.
pub(crate) struct Compared {
    pub(crate) name: &'static str,
    pub(crate) sides: Vec<Measured>,
    pub(crate) left_out: Vec<(Who, String)>,
    ratios: Vec<Ratio>,
    /// Of the open loop, requests a second.
    pub(crate) rate: u32,
}

/// One side in times of another.
struct Ratio {
    ours: Who,
    theirs: Who,
    per_s: Spread,
    /// How many times less CPU time a request of ours takes.
    cpu: Spread,
}

/// One side's rounds.
pub(crate) struct Measured {
    pub(crate) who: Who,
    prepared: Duration,
    pub(crate) throughput: Vec<Throughput>,
    /// One a round.
    pub(crate) latency: Vec<Latency>,
    pub(crate) curve: Vec<(u32, Latency)>,
}

/// Of an open loop.
#[derive(Clone, Copy)]
pub(crate) struct Latency {
    p50_ms: f64,
    p99_ms: f64,
    bad: u64,
}

impl From<&Outcome> for Latency {
    fn from(outcome: &Outcome) -> Self {
        Self {
            p50_ms: outcome.ms(0.5),
            p99_ms: outcome.ms(0.99),
            bad: outcome.bad(),
        }
    }
}

impl Latency {
    /// The medians of some spans.
    pub(crate) fn middle(spans: &[Self]) -> Self {
        Self {
            p50_ms: median(spans.iter().map(|span| span.p50_ms)),
            p99_ms: median(spans.iter().map(|span| span.p99_ms)),
            bad: spans.iter().map(|span| span.bad).sum(),
        }
    }
}

impl Measured {
    pub(crate) fn new(who: Who, prepared: Duration) -> Self {
        Self {
            who,
            prepared,
            throughput: Vec::new(),
            latency: Vec::new(),
            curve: Vec::new(),
        }
    }

    fn each(&self, of: impl Fn(&Throughput) -> f64) -> Spread {
        Spread::of(self.throughput.iter().map(of))
    }

    pub(crate) fn per_s(&self) -> f64 {
        self.each(|round| round.per_s).median
    }

    fn latency(&self, of: impl Fn(&Latency) -> f64) -> f64 {
        median(self.latency.iter().map(of))
    }

    fn bad(&self) -> u64 {
        let throughput: u64 = self.throughput.iter().map(|round| round.bad).sum();
        throughput + self.latency.iter().map(|round| round.bad).sum::<u64>()
    }

    fn json(&self) -> Value {
        let throughput = |of: fn(&Throughput) -> f64| {
            let rounds: Vec<f64> = self.throughput.iter().map(of).collect();
            let mut json = Spread::of(rounds.iter().copied()).json();
            json["rounds"] = json!(rounds);
            json
        };
        let latency = |of: fn(&Latency) -> f64| {
            let rounds: Vec<f64> = self.latency.iter().map(of).collect();
            let mut json = Spread::of(rounds.iter().copied()).json();
            json["rounds"] = json!(rounds);
            json
        };
        let curve: Vec<Value> = self
            .curve
            .iter()
            .map(|(rate, found)| {
                json!({ "per_s": rate, "p50_ms": found.p50_ms, "p99_ms": found.p99_ms, "bad": found.bad })
            })
            .collect();
        json!({
            "side": self.who.name(),
            "prepared_s": self.prepared.as_secs_f64(),
            "per_s": throughput(|round| round.per_s),
            "cpu_us": throughput(|round| round.cpu_us),
            "rss_mib": throughput(|round| round.rss_mib),
            "p50_ms": latency(|round| round.p50_ms),
            "p99_ms": latency(|round| round.p99_ms),
            "others_cores": throughput(|round| round.others),
            "bad": self.bad(),
            "curve": curve,
        })
    }
}

impl Compared {
    /// Of this scenario, nothing yet.
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            sides: Vec::new(),
            left_out: Vec::new(),
            ratios: Vec::new(),
            rate: 0,
        }
    }

    pub(crate) fn compare(&mut self, wanted: &[(Who, Who)]) {
        let found = wanted.iter().filter_map(|&(ours, theirs)| {
            let both = |of: fn(&Throughput) -> f64| {
                Some((self.rounds(ours, of)?, self.rounds(theirs, of)?))
            };
            let (mine, other) = both(|round| round.per_s)?;
            let (my_cpu, other_cpu) = both(|round| round.cpu_us)?;
            Some(Ratio {
                ours,
                theirs,
                per_s: ratios(&mine, &other),
                cpu: ratios(&other_cpu, &my_cpu),
            })
        });
        self.ratios = found.collect();
    }

    /// One figure of a side, by rounds.
    fn rounds(&self, who: Who, of: fn(&Throughput) -> f64) -> Option<Vec<f64>> {
        let side = self.sides.iter().find(|side| side.who == who)?;
        Some(side.throughput.iter().map(of).collect())
    }

    /// CPU time by request, in rounds.
    pub(crate) fn cpu_us(&self, who: Who) -> Option<Vec<f64>> {
        self.rounds(who, |round| round.cpu_us)
    }

    /// p99 of the first, in times of that of the second.
    fn p99_ratio(&self, ours: Who, theirs: Who) -> f64 {
        let p99 = |who: Who| {
            let side = self.sides.iter().find(|side| side.who == who);
            side.map_or(f64::NAN, |side| side.latency(|round| round.p99_ms))
        };
        p99(ours) / p99(theirs)
    }

    /// As Markdown.
    pub(crate) fn table(&self) -> String {
        let p50 = format!("p50 at {}/s", self.rate);
        let mut table = Table::new(&[
            "side",
            "requests/s (least to most)",
            "CPU by request",
            "RSS",
            &p50,
            "p99",
            "bad",
            "until it serves",
        ]);
        for side in &self.sides {
            let per_s = side.each(|round| round.per_s);
            table.row([
                side.who.name().to_owned(),
                format!("{:.0} ({:.0} to {:.0})", per_s.median, per_s.min, per_s.max),
                format!("{:.1} us", side.each(|round| round.cpu_us).median),
                format!("{:.1} MiB", side.each(|round| round.rss_mib).median),
                format!("{:.2} ms", side.latency(|round| round.p50_ms)),
                format!("{:.2} ms", side.latency(|round| round.p99_ms)),
                side.bad().to_string(),
                format!("{:.2} s", side.prepared.as_secs_f64()),
            ]);
        }
        let mut text = table.text().to_owned();
        for (who, reason) in &self.left_out {
            text.push_str(&format!("\n{} is left out: {reason}.\n", who.name()));
        }
        if !self.ratios.is_empty() {
            let mut table = Table::new(&[
                "ratio",
                "requests/s (least to most)",
                "requests by CPU time",
                "p99",
            ]);
            for ratio in &self.ratios {
                table.row([
                    format!("{} / {}", ratio.ours.name(), ratio.theirs.name()),
                    ratio.per_s.to_string(),
                    ratio.cpu.to_string(),
                    format!("{:.2}", self.p99_ratio(ratio.ours, ratio.theirs)),
                ]);
            }
            text.push('\n');
            text.push_str(table.text());
        }
        let others = self.sides.iter().flat_map(|side| &side.throughput);
        let others = Spread::of(others.map(|round| round.others));
        text.push_str(&format!(
            "\nCores that others kept busy meanwhile: {others}.\n"
        ));
        text
    }

    /// All of it, rounds too.
    pub(crate) fn json(&self) -> Value {
        let ratios: Vec<Value> = self
            .ratios
            .iter()
            .map(|ratio| {
                json!({
                    "of": ratio.ours.name(),
                    "to": ratio.theirs.name(),
                    "per_s": ratio.per_s.json(),
                    "by_cpu": ratio.cpu.json(),
                    "p99": self.p99_ratio(ratio.ours, ratio.theirs),
                })
            })
            .collect();
        let left_out = self.left_out.iter();
        json!({
            "scenario": self.name,
            "sides": self.sides.iter().map(Measured::json).collect::<Vec<_>>(),
            "open_loop_per_s": self.rate,
            "ratios": ratios,
            "left_out": left_out.map(|(who, reason)| json!({ "side": who.name(), "reason": reason })).collect::<Vec<_>>(),
        })
    }

    /// Latency against load, where it was measured.
    pub(crate) fn picture(&self) -> Option<String> {
        let lines = self.sides.iter().filter(|side| !side.curve.is_empty());
        let lines: Vec<Line> = lines
            .map(|side| Line {
                name: side.who.name().to_owned(),
                points: side
                    .curve
                    .iter()
                    .map(|(rate, found)| (f64::from(*rate), found.p99_ms))
                    .collect(),
            })
            .collect();
        let plot = Plot {
            title: &format!("{}: p99 against load", self.name),
            x: ("requests a second (open loop)", Scale::Tens),
            y: ("p99 in ms", Scale::Tens),
            lines,
        };
        (!plot.lines.is_empty()).then(|| plot.svg())
    }
}
