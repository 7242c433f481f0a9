//! HTTP/1.1 by hand: what is sent is exactly what the test wrote, and what is read is exactly what came.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UnixStream};

/// The longest wait for the next byte.
const BYTE_MAX: Duration = Duration::from_secs(30);

pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// One connection.
pub struct Wire {
    stream: Box<dyn Stream>,
    pub(crate) read: BytesMut,
}

/// The head of an answer.
#[derive(Debug, Clone)]
pub struct Head {
    /// `HTTP/1.1` or `HTTP/1.0`.
    pub version: String,
    /// The status code.
    pub status: u16,
    /// Fields in their order, names in lower case.
    pub headers: Vec<(String, String)>,
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its head.
    pub head: Head,
    /// Its body, without chunking.
    pub body: Vec<u8>,
    /// Trailer fields, names in lower case.
    pub trailers: Vec<(String, String)>,
    /// Whether the body ended as it should: all announced bytes, or the last chunk.
    pub whole: bool,
}

impl Head {
    /// The value of a field, `None` where it is not there.
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }
}

impl Answer {
    /// The status code.
    pub fn status(&self) -> u16 {
        self.head.status
    }

    /// The value of a field.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    /// The value of a trailer field.
    pub fn trailer(&self, name: &str) -> Option<&str> {
        find(&self.trailers, name)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The last part of a problem's type; empty where the answer is none.
    pub fn problem(&self) -> String {
        let json: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let uri = json["type"].as_str().unwrap_or_default();
        uri.rsplit('/').next().unwrap_or_default().to_owned()
    }

    /// The node's reason for answering in a guest's place; empty where it did not.
    pub fn reason(&self) -> &str {
        self.header("x-littoral-reason").unwrap_or_default()
    }
}

fn find<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let field = fields.iter().find(|(field, _)| field == name);
    field.map(|(_, value)| value.as_str())
}

impl Wire {
    /// Connects over TCP.
    pub async fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await;
        Self::over(stream.unwrap_or_else(|error| panic!("{address}: {error}")))
    }

    /// Over a connection that is there.
    pub fn of(stream: TcpStream) -> Self {
        Self::over(stream)
    }

    /// Connects over TCP with a small receive buffer, to be a client that takes little.
    pub async fn narrow(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(8 << 10).expect("a size");
        Self::over(socket.connect(address).await.expect("the node accepts"))
    }

    /// Connects to a Unix socket.
    pub async fn to_unix(path: &Path) -> Self {
        Self::over(UnixStream::connect(path).await.expect("the node accepts"))
    }

    pub(crate) fn over(stream: impl Stream + 'static) -> Self {
        Self {
            stream: Box::new(stream),
            read: BytesMut::new(),
        }
    }

    /// The connection itself, on which nothing was read yet.
    pub fn into_stream(self) -> impl AsyncRead + AsyncWrite + Send + Unpin + 'static {
        self.stream
    }

    /// Sends bytes.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).await.expect("the node reads");
    }

    /// Sends bytes, unless the other side has closed.
    ///
    /// # Errors
    /// What the socket says.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.stream.write_all(bytes.as_ref()).await?;
        self.stream.flush().await
    }

    /// Closes the sending half.
    pub async fn finish(&mut self) {
        // The other side may be gone already, which is for the reading half to find out.
        let _ = self.stream.shutdown().await;
    }

    /// Reads more; `false` at the end, or where the connection was reset.
    pub(crate) async fn more(&mut self) -> bool {
        let read = tokio::time::timeout(BYTE_MAX, self.stream.read_buf(&mut self.read)).await;
        matches!(read.expect("an answer within its time"), Ok(count) if count > 0)
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.read.windows(2).position(|two| two == b"\r\n") {
                let line = String::from_utf8_lossy(&self.read[..at]).into_owned();
                self.read.advance(at + 2);
                return Some(line);
            }
            if !self.more().await {
                return None;
            }
        }
    }

    async fn fields(&mut self) -> Option<Vec<(String, String)>> {
        let mut fields = Vec::new();
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Some(fields);
            }
            let (name, value) = line.split_once(':').expect("a field has a colon");
            fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    /// Reads a head; `None` where the connection ends before one.
    pub async fn try_head(&mut self) -> Option<Head> {
        let line = self.line().await?;
        let mut words = line.split(' ');
        let version = words.next().unwrap_or_default().to_owned();
        let status = words.next().and_then(|word| word.parse().ok());
        Some(Head {
            version,
            status: status.unwrap_or_else(|| panic!("not a status line: {line}")),
            headers: self.fields().await?,
        })
    }

    /// Reads a head.
    pub async fn head(&mut self) -> Head {
        self.try_head().await.expect("an answer")
    }

    /// Reads some bytes as they come, at most `most`; none at the end.
    pub async fn some(&mut self, most: usize) -> Vec<u8> {
        if self.read.is_empty() && !self.more().await {
            return Vec::new();
        }
        let count = most.min(self.read.len());
        self.read.split_to(count).to_vec()
    }

    /// Reads to the end of the connection.
    pub async fn rest(&mut self) -> Vec<u8> {
        while self.more().await {}
        self.read.split().to_vec()
    }

    /// Reads an answer to a request that was not `HEAD`.
    pub async fn answer(&mut self) -> Answer {
        let head = self.head().await;
        self.body(head).await
    }

    /// Reads the body that belongs to a head.
    pub async fn body(&mut self, head: Head) -> Answer {
        let mut answer = Answer {
            head,
            body: Vec::new(),
            trailers: Vec::new(),
            whole: true,
        };
        if matches!(answer.head.status, 100..=199 | 204 | 304) {
            return answer;
        }
        if answer.header("transfer-encoding").is_some() {
            answer.whole = self.chunks(&mut answer).await.is_some();
        } else if let Some(length) = answer.header("content-length") {
            let length: usize = length.parse().expect("a length is a number");
            while self.read.len() < length && self.more().await {}
            answer.body = self.read.split_to(length.min(self.read.len())).to_vec();
            answer.whole = answer.body.len() == length;
        } else {
            answer.body = self.rest().await;
        }
        answer
    }

    async fn chunks(&mut self, answer: &mut Answer) -> Option<()> {
        loop {
            let line = self.line().await?;
            let digits = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(digits, 16).expect("a chunk has a size");
            if size == 0 {
                answer.trailers = self.fields().await?;
                return Some(());
            }
            while self.read.len() < size + 2 {
                if !self.more().await {
                    answer.body.extend_from_slice(&self.read);
                    return None;
                }
            }
            answer.body.extend_from_slice(&self.read[..size]);
            self.read.advance(size + 2);
        }
    }
}

/// A request in the making.
#[must_use = "it is sent by `send`"]
pub struct Ask {
    address: SocketAddr,
    method: String,
    host: String,
    target: String,
    headers: VecDeque<String>,
    body: Option<Vec<u8>>,
}

impl Ask {
    /// `place` is `host/path`.
    pub fn new(address: SocketAddr, method: &str, place: &str) -> Self {
        let (host, path) = place.split_once('/').expect("a place is host/path");
        Self {
            address,
            method: method.to_owned(),
            host: host.to_owned(),
            target: format!("/{path}"),
            headers: VecDeque::new(),
            body: None,
        }
    }

    /// Adds a field.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push_back(format!("{name}: {value}\r\n"));
        self
    }

    /// Sets the body, with its length.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// The request as it is sent.
    pub fn bytes(&self) -> Vec<u8> {
        let mut text = format!(
            "{} {} HTTP/1.1\r\nHost: {}\r\n",
            self.method, self.target, self.host
        );
        for header in &self.headers {
            text.push_str(header);
        }
        if let Some(body) = &self.body {
            text.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(self.body.as_deref().unwrap_or_default());
        bytes
    }

    /// Sends it on a connection of its own and reads the answer.
    pub async fn send(self) -> Answer {
        let mut wire = Wire::to(self.address).await;
        // A node that refuses a large body early may close before all of it is sent: the answer counts.
        let _ = wire.try_send(self.bytes()).await;
        let head = wire.head().await;
        if self.method == "HEAD" {
            return Answer {
                head,
                body: Vec::new(),
                trailers: Vec::new(),
                whole: true,
            };
        }
        wire.body(head).await
    }
}
