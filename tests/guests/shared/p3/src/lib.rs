//! The lines that guests of `wasi:http/service` 0.3 would otherwise repeat: reading the target,
//! answering a short text, starting a body that a task goes on to send, waiting.

use wasip3::clocks::monotonic_clock::wait_for;
use wasip3::http::types::{ErrorCode, Fields, Request, Response, Trailers};
use wasip3::wit_bindgen::rt::async_support::{FutureWriter, StreamWriter};
use wasip3::{wit_future, wit_stream};

pub use query::Target;

/// How a body ends: with trailers or without, or with an error.
pub type End = Result<Option<Trailers>, ErrorCode>;

/// The stream of the response is gone, mostly because the client is.
pub struct Gone;

/// What the request asks for.
pub fn target(request: &Request) -> Target {
    Target::new(request.get_path_with_query())
}

/// The whole of `text` as `text/plain`.
pub fn answer(status: u16, text: &str) -> Response {
    let headers = Fields::new();
    headers
        .set("content-type", &[b"text/plain; charset=utf-8".to_vec()])
        .expect("a valid header");
    let (response, mut body) = start(status, headers);
    let bytes = text.as_bytes().to_vec();
    wasip3::spawn(async move {
        if body.send(bytes).await.is_ok() {
            body.finish(Ok(None)).await;
        }
    });
    response
}

/// 404, for the paths that a guest does not know.
pub fn unknown_path() -> Response {
    answer(404, "this guest knows no such path\n")
}

/// Waits on the monotonic clock.
pub async fn wait_ms(ms: u64) {
    wait_for(ms.saturating_mul(1_000_000)).await;
}

/// A response to return, and its body for a task to send.
pub fn start(status: u16, headers: Fields) -> (Response, Body) {
    let (stream, stream_read) = wit_stream::new();
    let (end, end_read) = wit_future::new(|| Err(ErrorCode::HttpResponseIncomplete));
    let (response, _sent) = Response::new(headers, Some(stream_read), end_read);
    response
        .set_status_code(status)
        .expect("the guests use valid status codes");
    (response, Body { stream, end })
}

/// The body of a response. Dropping it without [`Body::finish`] tells the host that the body
/// is incomplete.
pub struct Body {
    stream: StreamWriter<u8>,
    end: FutureWriter<End>,
}

impl Body {
    /// Sends `bytes`, which must not be empty, and returns when the host has taken them.
    pub async fn send(&mut self, bytes: Vec<u8>) -> Result<(), Gone> {
        let unsent = self.stream.write_all(bytes).await;
        if unsent.is_empty() { Ok(()) } else { Err(Gone) }
    }

    /// Ends the body.
    pub async fn finish(self, end: End) {
        drop(self.stream);
        // Not taken when the client is gone by now, and then nobody misses it.
        let _ = self.end.write(end).await;
    }
}

/// Makes the guest whose requests all go to an async function of the request: all but `/ok`, which
/// answers, to show that the guest is still served.
#[macro_export]
macro_rules! misbehaves {
    ($misbehave:path) => {
        struct Hostile;

        impl ::wasip3::exports::http::handler::Guest for Hostile {
            async fn handle(
                request: ::wasip3::http::types::Request,
            ) -> Result<::wasip3::http::types::Response, ::wasip3::http::types::ErrorCode> {
                match $crate::target(&request).path() {
                    "/ok" => Ok($crate::answer(200, "ok\n")),
                    _ => $misbehave(request).await,
                }
            }
        }

        ::wasip3::http::service::export!(Hostile);
    };
}
