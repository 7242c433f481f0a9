//! Load for benchmarks: requests at times that were set beforehand, so that a node that stalls is not asked less.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Longer than any answer may take: a request that took it counts as lost.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// What came of some requests.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// From when each was due to its last byte, sorted.
    pub(crate) latencies: Vec<Duration>,
    /// Requests without a 200.
    pub(crate) lost: u64,
}

impl Outcome {
    /// The latency that this share of the requests did not exceed.
    pub(crate) fn percentile(&self, share: f64) -> Duration {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a place in a list"
        )]
        let at = (self.latencies.len() as f64 * share) as usize;
        let last = self.latencies.len().saturating_sub(1);
        self.latencies
            .get(at.min(last))
            .copied()
            .unwrap_or_default()
    }
}

/// Asks `host` for `/` at `per_s` requests a second for `span`, over `connections` connections that stay open.
pub(crate) async fn open_loop(
    node: SocketAddr,
    host: &str,
    per_s: u32,
    connections: u32,
    span: Duration,
) -> Outcome {
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let began = Instant::now() + Duration::from_millis(10);
    let every = Duration::from_secs(1) * connections / per_s;
    let tasks: Vec<_> = (0..connections)
        .map(|number| {
            let request = request.clone();
            let first = began + Duration::from_secs(1) * number / per_s;
            tokio::spawn(
                async move { one_connection(node, &request, first, every, began + span).await },
            )
        })
        .collect();
    let mut outcome = Outcome::default();
    for task in tasks {
        let one = task.await.expect("no load task panics");
        outcome.latencies.extend(one.latencies);
        outcome.lost += one.lost;
    }
    outcome.latencies.sort_unstable();
    outcome
}

async fn one_connection(
    node: SocketAddr,
    request: &str,
    first: Instant,
    every: Duration,
    end: Instant,
) -> Outcome {
    let mut outcome = Outcome::default();
    let mut stream = None;
    let mut due = first;
    let mut answer = vec![0; 64 << 10];
    while due < end {
        // Late because the answer before was: then the wait counts. A timer's own lateness does not.
        let began = if Instant::now() > due {
            due
        } else {
            tokio::time::sleep_until(due.into()).await;
            Instant::now()
        };
        let asked =
            tokio::time::timeout(ANSWER_MAX, ask(node, &mut stream, request, &mut answer)).await;
        if matches!(asked, Ok(Ok(200))) {
            outcome.latencies.push(began.elapsed());
        } else {
            outcome.lost += 1;
            stream = None;
        }
        due += every;
    }
    outcome
}

/// One request; gives its status.
async fn ask(
    node: SocketAddr,
    stream: &mut Option<TcpStream>,
    request: &str,
    answer: &mut [u8],
) -> std::io::Result<u16> {
    let stream = match stream {
        Some(stream) => stream,
        none => {
            let connected = TcpStream::connect(node).await?;
            connected.set_nodelay(true)?;
            none.insert(connected)
        }
    };
    stream.write_all(request.as_bytes()).await?;
    let mut read = 0;
    loop {
        let rest = answer.get_mut(read..).unwrap_or_default();
        let count = stream.read(rest).await?;
        if count == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        read += count;
        if let Some(status) = whole(answer.get(..read).unwrap_or_default()) {
            return Ok(status);
        }
    }
}

/// The status of an answer once all of it is there: its length is declared or it is chunked.
fn whole(answer: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(answer).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let head = head.to_ascii_lowercase();
    let length = head.lines().find_map(|line| {
        line.strip_prefix("content-length:")?
            .trim()
            .parse::<usize>()
            .ok()
    });
    let ended = match length {
        Some(length) => body.len() >= length,
        None => body.ends_with("0\r\n\r\n"),
    };
    let status = head.split(' ').nth(1)?.parse().ok()?;
    ended.then_some(status)
}

/// Asks for `path` of `host` over and over on `connections` connections at once, whatever comes of it, until dropped.
pub(crate) struct Flood(Vec<tokio::task::JoinHandle<()>>);

impl Flood {
    /// Begins. A request with `body` is a POST.
    pub(crate) fn start(
        node: SocketAddr,
        host: &str,
        path: &str,
        body: &str,
        connections: u32,
    ) -> Self {
        let method = if body.is_empty() { "GET" } else { "POST" };
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        Self(
            (0..connections)
                .map(|_| {
                    let request = request.clone();
                    tokio::spawn(async move {
                        loop {
                            if over_and_over(node, &request).await.is_err() {
                                // Refused or reset: not at once again, or this would be a test of connecting.
                                tokio::time::sleep(Duration::from_millis(5)).await;
                            }
                        }
                    })
                })
                .collect(),
        )
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

async fn over_and_over(node: SocketAddr, request: &str) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(node).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut sink = vec![0; 64 << 10];
    let mut first = true;
    loop {
        let count = stream.read(&mut sink).await?;
        if count == 0 {
            return Ok(());
        }
        // A refusal comes at once: a client that minds it waits a little before it asks again.
        if std::mem::take(&mut first) && sink.starts_with(b"HTTP/1.1 503") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
