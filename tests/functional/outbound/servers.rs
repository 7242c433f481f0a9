//! Small servers that guests ask: each answers as a test says, and counts.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// A server on a free port of loopback; ends when dropped.
pub(super) struct Server {
    address: SocketAddr,
    counts: Arc<Counts>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Counts {
    /// Requests of each connection that was ever made.
    requests: Mutex<Vec<usize>>,
    open: AtomicUsize,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One connection, counted as open while this lives.
struct Open(Arc<Counts>, usize);

impl Open {
    fn new(counts: &Arc<Counts>) -> Self {
        let mut requests = counts.requests.lock().unwrap();
        requests.push(0);
        counts.open.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(counts), requests.len() - 1)
    }

    fn asked(&self) {
        self.0.requests.lock().unwrap()[self.1] += 1;
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Answers each request with this text.
pub(super) fn answering(text: &str) -> impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static {
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    );
    move |_| answer.clone().into_bytes()
}

impl Server {
    /// Answers each head with what `answer` makes of it, and keeps the connection.
    pub(super) async fn start(answer: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let answer = Arc::new(answer);
        Self::serving(move |stream, open| {
            let answer = Arc::clone(&answer);
            async move { converse(stream, &open, &*answer).await }
        })
        .await
    }

    /// The same over TLS, with a certificate of this name; gives the authority's certificate (PEM) too.
    pub(super) async fn start_tls(name: &str, text: &str) -> (Self, String) {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let answer = Arc::new(answering(text));
        let server = Self::serving(move |stream, open| {
            let (acceptor, answer) = (acceptor.clone(), Arc::clone(&answer));
            async move {
                // A client that does not believe the certificate says so and goes.
                if let Ok(stream) = acceptor.accept(stream).await {
                    converse(stream, &open, &*answer).await;
                }
            }
        })
        .await;
        (server, made.cert.pem())
    }

    /// Reads one head, then sends these bytes, and `again` over and over; closes only when the other side does.
    pub(super) async fn flooding(first: &'static [u8], again: &'static [u8]) -> Self {
        Self::serving(move |mut stream, open| async move {
            let mut read = Vec::new();
            if head(&mut stream, &mut read).await.is_none() {
                return;
            }
            open.asked();
            if stream.write_all(first).await.is_err() {
                return;
            }
            if again.is_empty() {
                // Until it is closed.
                while stream
                    .read(&mut [0; 1024])
                    .await
                    .is_ok_and(|bytes| bytes > 0)
                {}
                return;
            }
            while stream.write_all(again).await.is_ok() {}
        })
        .await
    }

    /// Answers one request of each connection, says nothing of closing it, and does so at once.
    pub(super) async fn fickle(text: &str) -> Self {
        let answer = Arc::new(answering(text));
        Self::serving(move |mut stream, open| {
            let answer = Arc::clone(&answer);
            async move {
                if let Some(head) = head(&mut stream, &mut Vec::new()).await {
                    open.asked();
                    // The next request may be on its way: whoever sent it finds the connection gone.
                    let _ = stream.write_all(&answer(&head)).await;
                }
            }
        })
        .await
    }

    /// Says this to whoever connects, and nothing else.
    pub(super) async fn saying(text: &'static [u8]) -> Self {
        Self::serving(move |mut stream, open| async move {
            open.asked();
            if stream.write_all(text).await.is_ok() {
                while stream
                    .read(&mut [0; 1024])
                    .await
                    .is_ok_and(|bytes| bytes > 0)
                {}
            }
        })
        .await
    }

    async fn serving<F>(serve: impl Fn(TcpStream, Open) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let counts = Arc::<Counts>::default();
        let counted = Arc::clone(&counts);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Open::new(&counted)));
            }
        });
        Self {
            address,
            counts,
            task,
        }
    }

    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }

    /// As a guest asks for it by this name.
    pub(super) fn url(&self, host: &str) -> String {
        format!("http://{host}:{}/", self.port())
    }

    /// Connections that were ever made.
    pub(super) fn connections(&self) -> usize {
        self.counts.requests.lock().unwrap().len()
    }

    /// Those that are open.
    pub(super) fn open(&self) -> usize {
        self.counts.open.load(Ordering::SeqCst)
    }

    /// Requests on each connection that was ever made.
    pub(super) fn requests_by_connection(&self) -> Vec<usize> {
        self.counts.requests.lock().unwrap().clone()
    }
}

async fn converse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    open: &Open,
    answer: &(impl Fn(&[u8]) -> Vec<u8> + ?Sized),
) {
    let mut read = Vec::new();
    while let Some(head) = head(&mut stream, &mut read).await {
        open.asked();
        if stream.write_all(&answer(&head)).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}

/// The next head, without its empty line; what comes after it stays in `read`.
async fn head(stream: &mut (impl AsyncRead + Unpin), read: &mut Vec<u8>) -> Option<Vec<u8>> {
    loop {
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = read.split_off(end + 4);
            let mut head = std::mem::replace(read, rest);
            head.truncate(end);
            return Some(head);
        }
        if stream.read_buf(read).await.ok()? == 0 {
            return None;
        }
    }
}
