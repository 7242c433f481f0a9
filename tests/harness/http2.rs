//! HTTP/2 as clients speak it, by a library that is not hyper.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::beside;
use crate::wire::{Answer, Head};

/// A connection.
pub struct Http2 {
    sender: SendRequest<Bytes>,
    /// Ends with the connection: how.
    pub connection: JoinHandle<Result<(), h2::Error>>,
}

/// A request under way.
pub struct Exchange {
    /// What is sent of its body.
    pub body: SendStream<Bytes>,
    /// What becomes of it.
    pub answer: ResponseFuture,
}

impl Http2 {
    /// Connects by prior knowledge.
    pub async fn to(address: SocketAddr) -> Self {
        Self::with(address, &Builder::new()).await
    }

    /// The same with settings of its own.
    pub async fn with(address: SocketAddr, settings: &Builder) -> Self {
        let stream = TcpStream::connect(address).await.expect("the node accepts");
        Self::over(stream, settings).await
    }

    /// Over a connection that is there.
    pub async fn over(
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        settings: &Builder,
    ) -> Self {
        let (sender, connection) = settings.handshake(stream).await.expect("HTTP/2 is spoken");
        Self {
            sender,
            connection: beside(connection),
        }
    }

    /// Begins a request; its body follows, unless it is `whole`.
    ///
    /// # Errors
    /// If the connection takes no more.
    pub async fn begin(
        &mut self,
        request: http::request::Builder,
        whole: bool,
    ) -> Result<Exchange, h2::Error> {
        let request = request.body(()).expect("a request");
        let ready = self.sender.clone().ready().await?;
        self.sender = ready;
        let (answer, body) = self.sender.send_request(request, whole)?;
        Ok(Exchange { body, answer })
    }

    /// Asks for `host/path`.
    pub async fn get(&mut self, place: &str) -> Answer {
        let exchange = self.begin(get(place), true).await.expect("a stream");
        let (head, body) = exchange.answer.await.expect("an answer").into_parts();
        whole(head, body).await
    }
}

/// A request for `host/path`.
pub fn get(place: &str) -> http::request::Builder {
    http::Request::get(format!("http://{place}"))
}

/// A request with a body for `host/path`.
pub fn post(place: &str) -> http::request::Builder {
    http::Request::post(format!("http://{place}"))
}

/// Reads an answer to its end.
pub async fn whole(head: http::response::Parts, mut body: RecvStream) -> Answer {
    let mut answer = Answer {
        head: Head {
            version: format!("{:?}", head.version),
            status: head.status.as_u16(),
            headers: text(&head.headers),
        },
        body: Vec::new(),
        trailers: Vec::new(),
        whole: true,
    };
    while let Some(piece) = body.data().await {
        let Ok(piece) = piece else {
            answer.whole = false;
            return answer;
        };
        answer.body.extend_from_slice(&piece);
        // More may come, as far as this client is concerned.
        let _ = body.flow_control().release_capacity(piece.len());
    }
    match body.trailers().await {
        Ok(trailers) => answer.trailers = trailers.iter().flat_map(text).collect(),
        Err(_) => answer.whole = false,
    }
    answer
}

fn text(headers: &http::HeaderMap) -> Vec<(String, String)> {
    let fields = headers.iter();
    fields
        .map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (name.as_str().to_owned(), value)
        })
        .collect()
}
