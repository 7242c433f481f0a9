//! The lines that guests of `wasi:http/proxy` 0.2 would otherwise repeat: reading the target,
//! answering a short text, sending a body piece by piece, waiting.
//!
//! Sending never panics: a client that hung up is a closed stream, and the guest just ends.

use wasip2::clocks::monotonic_clock::subscribe_duration;
use wasip2::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};
use wasip2::io::streams::{OutputStream, StreamError};

pub use query::Target;

/// The stream of the response is gone, mostly because the client is.
pub struct Gone;

/// What the request asks for.
pub fn target(request: &IncomingRequest) -> Target {
    Target::new(request.path_with_query())
}

/// Answers the whole of `text` as `text/plain`.
pub fn answer(out: ResponseOutparam, status: u16, text: &str) {
    let headers = [("content-type", "text/plain; charset=utf-8".as_bytes())];
    let mut body = Body::start(out, status, &headers);
    if body.send(text.as_bytes()).is_ok() {
        body.finish(None);
    }
}

/// Answers 404, for the paths that a guest does not know.
pub fn unknown_path(out: ResponseOutparam) {
    answer(out, 404, "this guest knows no such path\n");
}

/// Waits on the monotonic clock.
pub fn wait_ms(ms: u64) {
    subscribe_duration(ms.saturating_mul(1_000_000)).block();
}

/// A response whose head is sent and whose body is being sent. Dropping it without
/// [`Body::finish`] tells the host that the body is incomplete.
pub struct Body {
    // Declared before `body`: the stream is its child and has to be dropped first.
    stream: OutputStream,
    body: OutgoingBody,
}

impl Body {
    /// Sends the head.
    pub fn start(out: ResponseOutparam, status: u16, headers: &[(&str, &[u8])]) -> Self {
        let fields = Fields::new();
        for (name, value) in headers {
            fields
                .append(name, value)
                .expect("the guests name headers that hosts allow");
        }
        let response = OutgoingResponse::new(fields);
        response
            .set_status_code(status)
            .expect("the guests use valid status codes");
        let body = response.body().expect("the body is taken once");
        ResponseOutparam::set(out, Ok(response));
        let stream = body.write().expect("the stream is taken once");
        Self { stream, body }
    }

    /// Sends `bytes` as far as the host takes them, waiting whenever it takes none, and asks
    /// it to pass them on at once.
    pub fn send(&mut self, mut bytes: &[u8]) -> Result<(), Gone> {
        while !bytes.is_empty() {
            let room = match self.stream.check_write()? {
                0 => {
                    self.stream.subscribe().block();
                    continue;
                }
                room => usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len()),
            };
            let (now, later) = bytes.split_at(room);
            self.stream.write(now)?;
            bytes = later;
        }
        self.stream.flush()?;
        Ok(())
    }

    /// Ends the body, with trailers if there are any.
    pub fn finish(self, trailers: Option<Fields>) {
        let Self { stream, body } = self;
        // Everything has to be out before the body may end.
        let flushed = stream.blocking_flush();
        drop(stream);
        if flushed.is_ok() {
            // Refused when the client is gone or the declared length was not met: the host
            // knows either, and there is no one left to tell.
            let _ = OutgoingBody::finish(body, trailers);
        }
    }
}

impl From<StreamError> for Gone {
    fn from(_: StreamError) -> Self {
        Self
    }
}

/// Makes the guest whose requests all go to a function of the target, the request and the
/// outparam: all but `/ok`, which answers, to show that the guest is still served.
#[macro_export]
macro_rules! misbehaves {
    ($misbehave:path) => {
        struct Hostile;

        impl ::wasip2::exports::http::incoming_handler::Guest for Hostile {
            fn handle(
                request: ::wasip2::http::types::IncomingRequest,
                out: ::wasip2::http::types::ResponseOutparam,
            ) {
                let target = $crate::target(&request);
                match target.path() {
                    "/ok" => $crate::answer(out, 200, "ok\n"),
                    _ => $misbehave(&target, request, out),
                }
            }
        }

        ::wasip2::http::proxy::export!(Hostile);
    };
}
