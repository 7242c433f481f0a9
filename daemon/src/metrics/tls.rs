//! TLS: handshakes as workers report them, signatures as control makes them, and how long certificates last.

use std::collections::BTreeMap;
use std::time::Duration;

use super::counts::{Histogram, raise};
use super::family::{self, Samples};
use super::state::{OTHER, State};
use crate::gateway::{HANDSHAKE_BUCKETS_S, HandshakeOutcome};
use crate::link::HandshakeCounts;

/// Upper bounds for a signature, in seconds: by a key on a curve some tens of microseconds, by a long RSA key
/// milliseconds.
const SIGNATURE_BUCKETS_S: [f64; 8] = [0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.01, 0.1];

#[derive(Debug)]
pub(super) struct TlsFigures {
    /// By the outcome's place in the list of them.
    outcomes: [u64; HandshakeOutcome::ALL.len()],
    durations: Histogram,
    /// As of the worker's last report.
    under_way: u64,
    signatures: Histogram,
    refused: u64,
    certificates: u64,
    /// Of each tenant's certificates, how long the one that ends first still lasts, in seconds.
    left_s: BTreeMap<String, i64>,
}

impl Default for TlsFigures {
    fn default() -> Self {
        Self {
            outcomes: [0; HandshakeOutcome::ALL.len()],
            durations: Histogram::new(&HANDSHAKE_BUCKETS_S),
            under_way: 0,
            signatures: Histogram::new(&SIGNATURE_BUCKETS_S),
            refused: 0,
            certificates: 0,
            left_s: BTreeMap::new(),
        }
    }
}

impl TlsFigures {
    /// Adds one report; returns how many of its entries this node has no name for.
    pub(super) fn report(&mut self, counts: &HandshakeCounts) -> u64 {
        let mut unknown = 0;
        for (word, count) in &counts.outcomes {
            let sum = HandshakeOutcome::ALL
                .iter()
                .zip(&mut self.outcomes)
                .find(|(outcome, _)| outcome.word() == word);
            match sum {
                Some((_, sum)) => raise(sum, *count),
                None => raise(&mut unknown, 1),
            }
        }
        self.under_way = counts.under_way;
        let more = self
            .durations
            .add(&counts.duration_buckets, counts.duration_sum_us);
        unknown.saturating_add(more)
    }

    pub(super) fn under_way(&self) -> u64 {
        self.under_way
    }

    pub(super) fn set_under_way(&mut self, handshakes: u64) {
        self.under_way = handshakes;
    }

    pub(super) fn worker_gone(&mut self) {
        self.under_way = 0;
    }

    pub(super) fn signed(&mut self, took: Option<Duration>) {
        match took {
            Some(took) => self.signatures.observe(took),
            None => raise(&mut self.refused, 1),
        }
    }
}

impl State {
    /// Replaces what is known of certificates: how many there are, and of each tenant that has any how long the one that
    /// ends first still lasts.
    pub(super) fn certificates(&mut self, count: u64, left_s: BTreeMap<String, i64>) {
        for tenant in left_s.keys() {
            self.give_label(tenant);
        }
        self.tls.certificates = count;
        self.tls.left_s = left_s;
    }
}

pub(super) fn collect(samples: &mut Samples, state: &State) {
    let tls = &state.tls;
    for (outcome, count) in HandshakeOutcome::ALL.iter().zip(&tls.outcomes) {
        samples.count(&family::HANDSHAKES, &[outcome.word()], *count);
    }
    samples.histogram(&family::HANDSHAKE_DURATION, &[], &tls.durations);
    samples.count(&family::HANDSHAKES_UNDER_WAY, &[], tls.under_way);
    samples.histogram(&family::SIGNATURE_DURATION, &[], &tls.signatures);
    samples.count(&family::SIGNATURES_REFUSED, &[], tls.refused);
    samples.count(&family::CERTIFICATES, &[], tls.certificates);
    let mut others = None;
    for (name, left_s) in &tls.left_s {
        let labelled = state.tenants.get(name);
        if labelled.is_some_and(|tenant| tenant.labelled.is_some()) {
            samples.number(&family::CERTIFICATE_EXPIRY, &[name], *left_s as f64);
        } else {
            others = Some(others.map_or(*left_s, |least: i64| least.min(*left_s)));
        }
    }
    if let Some(left_s) = others {
        samples.number(&family::CERTIFICATE_EXPIRY, &[OTHER], left_s as f64);
    }
}
