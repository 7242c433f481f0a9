//! Load on one side: closed loop by `wrk` for throughput, open loop by the harness for latency.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use littoral_tests::measure::{Load, Outcome, Pace, Pick, busy_cpu, own_cpu};

use crate::side::{HOST, Side};

/// What every side is asked.
#[derive(Clone, Default)]
pub(crate) struct Question {
    /// A request with a body is a POST.
    pub(crate) body: String,
    pub(crate) content_type: &'static str,
}

/// What a round of throughput found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Throughput {
    /// Answers of 200 a second.
    pub(crate) per_s: f64,
    /// CPU time of all the server's processes by answer.
    pub(crate) cpu_us: f64,
    /// Resident memory of all the server's processes, at the end.
    pub(crate) rss_mib: f64,
    /// Requests that were not answered 200.
    pub(crate) bad: u64,
    /// How many cores others than server and load generator kept busy.
    pub(crate) others: f64,
}

/// How many connections, and for how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    pub(crate) connections: usize,
    pub(crate) span: Duration,
}

impl Question {
    fn bytes(&self) -> Vec<u8> {
        let (body, length) = (&self.body, self.body.len());
        let text = if body.is_empty() {
            format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")
        } else {
            format!(
                "POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: {}\r\nContent-Length: {length}\r\n\r\n{body}",
                self.content_type
            )
        };
        text.into_bytes()
    }

    fn load(&self, side: &Side, effort: Effort, pace: Pace) -> Load {
        Load {
            address: side.address,
            requests: vec![self.bytes()],
            pick: Pick::InTurn,
            connections: effort.connections,
            pace,
            span: effort.span,
        }
    }
}

/// A few requests, so that nothing of a first time is in what is measured.
///
/// # Errors
/// That it answered none with 200.
pub(crate) fn warm(side: &Side, question: &Question, effort: Effort) -> Result<(), String> {
    let span = Duration::from_millis(500);
    let outcome = question
        .load(side, Effort { span, ..effort }, Pace::Closed)
        .run();
    if outcome.good() > 0 {
        Ok(())
    } else {
        Err(format!("it answered {:?}", outcome.statuses))
    }
}

/// As many requests as it takes.
pub(crate) fn throughput(
    side: &Side,
    question: &Question,
    effort: Effort,
    wrk: Option<&Path>,
) -> Throughput {
    let (before, busy, own, began) = (side.usage(), busy_cpu(), own_cpu(), Instant::now());
    let (good, bad, per_s) = match wrk {
        Some(wrk) => by_wrk(wrk, side, question, effort),
        None => {
            let outcome = question.load(side, effort, Pace::Closed).run();
            (outcome.good(), outcome.bad(), outcome.per_s())
        }
    };
    let after = side.usage();
    let cpu = after.cpu.saturating_sub(before.cpu);
    let others = (busy_cpu() - busy).saturating_sub(cpu + own_cpu() - own);
    Throughput {
        per_s,
        cpu_us: cpu.as_secs_f64() * 1e6 / good.max(1) as f64,
        rss_mib: after.rss_kib as f64 / 1024.0,
        bad,
        others: others.as_secs_f64() / began.elapsed().as_secs_f64(),
    }
}

/// So many requests a second, whatever becomes of them.
pub(crate) fn latency(side: &Side, question: &Question, effort: Effort, per_s: u32) -> Outcome {
    question.load(side, effort, Pace::PerSecond(per_s)).run()
}

fn by_wrk(wrk: &Path, side: &Side, question: &Question, effort: Effort) -> (u64, u64, f64) {
    let mut command = Command::new(wrk);
    // A second thread would take from the server what it needs to be asked more.
    command
        .args(["--threads", "1", "--timeout", "20s"])
        .args(["--connections", &effort.connections.to_string()])
        .args(["--duration", &format!("{}s", effort.span.as_secs())])
        .args(["--header", &format!("Host: {HOST}")]);
    let mut script = tempfile::NamedTempFile::new().expect("a temporary file");
    let mut body = tempfile::NamedTempFile::new().expect("a temporary file");
    if !question.body.is_empty() {
        let written = body.write_all(question.body.as_bytes()).and_then(|()| {
            write!(
                script,
                "wrk.method = \"POST\"\nwrk.headers[\"Content-Type\"] = \"{}\"\nwrk.body = io.open(\"{}\", \"rb\"):read(\"*a\")\n",
                question.content_type,
                body.path().display()
            )
        });
        written.expect("temporary files can be written");
        command.arg("--script").arg(script.path());
    }
    let output = command
        .arg(format!("http://{}/", side.address))
        .output()
        .expect("wrk was there a moment ago");
    read(&String::from_utf8_lossy(&output.stdout))
}

/// What `wrk` says: good answers, bad ones, good ones a second.
fn read(text: &str) -> (u64, u64, f64) {
    let line = |what: &str| text.lines().find(|line| line.contains(what));
    let word = |line: Option<&str>, at: usize| {
        let word = line?.split([' ', ',']).filter(|word| !word.is_empty());
        word.skip(at).find_map(|word| word.parse::<f64>().ok())
    };
    let all = word(line("requests in"), 0).unwrap_or_default();
    let per_s = word(line("Requests/sec:"), 1).unwrap_or_default();
    let other = word(line("Non-2xx or 3xx responses:"), 0).unwrap_or_default();
    let broken: f64 = line("Socket errors:").map_or(0.0, |line| {
        let words = line.split([' ', ',']);
        words.filter_map(|word| word.parse::<f64>().ok()).sum()
    });
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counts of requests"
    )]
    let counts = ((all - other) as u64, (other + broken) as u64);
    (counts.0, counts.1, per_s * (all - other) / all.max(1.0))
}
