//! What is compared: a guest, a question, and who answers; rounds of it, interleaved.

use std::time::Duration;

use littoral_tests::measure::number;

use crate::compared::{Compared, Latency, Measured};
use crate::drive::{self, Effort, Question};
use crate::install::Peers;
use crate::side::{Guest, Side, Who};

/// One comparison.
#[derive(Clone)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) guest: Guest,
    pub(crate) question: Question,
    pub(crate) sides: &'static [Who],
    /// Throughput of the first, in times of that of the second.
    pub(crate) ratios: &'static [(Who, Who)],
    /// The side of whose throughput the rate of the open loop is a share, for all sides.
    pub(crate) pace_of: Who,
    pub(crate) connections: usize,
    /// Whether latency is measured at many rates.
    pub(crate) curve: bool,
}

/// Of each rate on the way up.
const SPANS: usize = 3;
/// Of the throughput of the side that sets the pace.
const SHARE: f64 = 0.5;
const RATES: [u32; 10] = [
    1000, 2000, 4000, 7000, 10_000, 15_000, 20_000, 30_000, 45_000, 60_000,
];

impl Scenario {
    /// Runs it, every side in every round.
    pub(crate) async fn run(&self, peers: &Peers) -> Compared {
        println!("\n## {}", self.name);
        let mut compared = Compared::new(self.name);
        let effort = Effort {
            connections: self.connections,
            span: Duration::from_secs(number("SECONDS", 5).into()),
        };
        let mut running = Vec::new();
        for &who in self.sides {
            let side = Side::start(who, &self.guest, peers).await;
            let warm = side.and_then(|side| {
                drive::warm(&side, &self.question, effort)?;
                Ok(side)
            });
            match warm {
                Ok(side) => {
                    compared.sides.push(Measured::new(who, side.prepared));
                    running.push(side);
                }
                Err(reason) => {
                    println!("{} is left out: {reason}", who.name());
                    compared.left_out.push((who, reason));
                }
            }
        }
        let rounds = number("ROUNDS", 5) as usize;
        for round in 0..rounds {
            for at in order(running.len(), round) {
                let side = &running[at];
                let found = drive::throughput(side, &self.question, effort, peers.wrk.as_deref());
                println!(
                    "round {round}: {:28} {:>9.0}/s  {:>7.1} us CPU  {:>6.1} MiB  {} bad",
                    side.who.name(),
                    found.per_s,
                    found.cpu_us,
                    found.rss_mib,
                    found.bad
                );
                compared.sides[at].throughput.push(found);
            }
        }
        compared.compare(self.ratios);
        compared.rate = self.rate(&compared);
        for round in 0..rounds {
            for at in order(running.len(), round) {
                let outcome = drive::latency(&running[at], &self.question, effort, compared.rate);
                compared.sides[at].latency.push((&outcome).into());
            }
        }
        if self.curve {
            self.curves(&running, &mut compared, effort);
        }
        print!("{}", compared.table());
        compared
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "requests a second"
    )]
    fn rate(&self, compared: &Compared) -> u32 {
        let pace = compared.sides.iter().find(|side| side.who == self.pace_of);
        let pace = pace.or(compared.sides.first());
        let per_s = pace.map_or(0.0, Measured::per_s);
        ((per_s * SHARE) as u32).max(1)
    }

    fn curves(&self, running: &[Side], compared: &mut Compared, effort: Effort) {
        // Several short spans rather than a long one: a single hiccup of the machine is in one of them.
        let effort = Effort {
            span: effort.span.min(Duration::from_secs(1)),
            ..effort
        };
        for rate in RATES {
            for (side, measured) in running.iter().zip(&mut compared.sides) {
                // Beyond what it takes, a line says how long the queue grew.
                if f64::from(rate) < measured.per_s() {
                    let spans: Vec<Latency> = (0..SPANS)
                        .map(|_| Latency::from(&drive::latency(side, &self.question, effort, rate)))
                        .collect();
                    measured.curve.push((rate, Latency::middle(&spans)));
                }
            }
        }
    }
}

/// Each round begins with another side, so that none is always measured after the same one.
fn order(count: usize, round: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |at| (at + round) % count)
}
