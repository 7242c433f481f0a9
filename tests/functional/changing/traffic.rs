//! Clients that ask all the time, and hold against the node whatever goes wrong.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use littoral_tests::{Wire, beside, until};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// Of each kind.
const CLIENTS: usize = 3;
/// How long a slow answer takes.
pub(super) const SLOW_MS: u64 = 700;

/// What they have seen.
#[derive(Default)]
struct Seen {
    stop: AtomicBool,
    answered: AtomicU64,
    streamed: AtomicU64,
    kept_alive: AtomicU64,
    wrong: Mutex<Vec<String>>,
}

/// Clients of a hello guest, over connections that are kept and over new ones, and of one that streams slowly.
pub(super) struct Traffic {
    seen: Arc<Seen>,
    clients: Vec<JoinHandle<()>>,
}

/// One exchange; the error says what became of it.
async fn ask(wire: &mut Wire, request: &str) -> Result<bool, String> {
    let sent = wire.try_send(request).await;
    sent.map_err(|error| format!("not sent: {error}"))?;
    let head = wire.try_head().await.ok_or("no answer: closed or reset")?;
    let closes = head.header("connection") == Some("close");
    let answer = wire.body(head).await;
    match (answer.status(), answer.whole) {
        (200, true) => Ok(closes),
        (status, whole) => Err(format!(
            "{status}, whole: {whole}, reason: {:?}",
            answer.reason()
        )),
    }
}

impl Traffic {
    /// Begins, at a node that serves `hello.acme.test` and `waits.acme.test`.
    pub(super) fn begin(node: SocketAddr) -> Self {
        let seen = Arc::<Seen>::default();
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            clients.push(client(&seen, node, "kept", |seen, node| async move {
                let mut wire = connect(node).await?;
                // As long as the node lets it.
                while !seen.stop.load(Ordering::Relaxed) {
                    let closes =
                        ask(&mut wire, "GET / HTTP/1.1\r\nHost: hello.acme.test\r\n\r\n").await?;
                    seen.answered.fetch_add(1, Ordering::Relaxed);
                    seen.kept_alive.fetch_add(1, Ordering::Relaxed);
                    if closes {
                        break;
                    }
                }
                Ok(())
            }));
            clients.push(client(&seen, node, "new", |seen, node| async move {
                let mut wire = connect(node).await?;
                let request =
                    "GET / HTTP/1.1\r\nHost: hello.acme.test\r\nConnection: close\r\n\r\n";
                ask(&mut wire, request).await?;
                seen.answered.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }));
            clients.push(client(&seen, node, "slow", |seen, node| async move {
                let mut wire = connect(node).await?;
                let request = format!(
                    "GET /head-then-wait?ms={SLOW_MS} HTTP/1.1\r\nHost: waits.acme.test\r\nConnection: close\r\n\r\n"
                );
                ask(&mut wire, &request).await?;
                seen.streamed.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }));
        }
        Self { seen, clients }
    }

    /// Waits until so many more were answered, and one more slow one.
    pub(super) async fn answered(&self, more: u64) {
        let (quick, slow) = (
            self.seen.answered.load(Ordering::Relaxed) + more,
            self.seen.streamed.load(Ordering::Relaxed) + 1,
        );
        until("requests are answered", async || {
            let enough = self.seen.answered.load(Ordering::Relaxed) >= quick
                && self.seen.streamed.load(Ordering::Relaxed) >= slow;
            (enough || self.has_seen_wrong()).then_some(())
        })
        .await;
    }

    fn has_seen_wrong(&self) -> bool {
        !self.seen.wrong.lock().unwrap().is_empty()
    }

    /// Ends them; gives how many were answered at once and how many slowly.
    ///
    /// # Panics
    /// If a connection was refused or reset, or a request not answered as it should be.
    pub(super) async fn end(self) -> (u64, u64) {
        self.seen.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.unwrap();
        }
        let wrong = self.seen.wrong.lock().unwrap();
        let answered = self.seen.answered.load(Ordering::Relaxed);
        let streamed = self.seen.streamed.load(Ordering::Relaxed);
        assert!(
            wrong.is_empty(),
            "{} of {} requests: {:?}",
            wrong.len(),
            answered + streamed,
            wrong.iter().take(10).collect::<Vec<_>>()
        );
        (answered, streamed)
    }
}

async fn connect(node: SocketAddr) -> Result<Wire, String> {
    // Looked at first: the wire would panic.
    let stream = TcpStream::connect(node).await;
    stream
        .map(Wire::of)
        .map_err(|error| format!("not connected: {error}"))
}

fn client<F: Future<Output = Result<(), String>> + Send>(
    seen: &Arc<Seen>,
    node: SocketAddr,
    kind: &'static str,
    once: impl Fn(Arc<Seen>, SocketAddr) -> F + Send + 'static,
) -> JoinHandle<()> {
    let seen = Arc::clone(seen);
    beside(async move {
        while !seen.stop.load(Ordering::Relaxed) {
            if let Err(error) = once(Arc::clone(&seen), node).await {
                seen.wrong.lock().unwrap().push(format!("{kind}: {error}"));
            }
        }
    })
}
