//! Answers 200 with a short text, and does nothing else: the guest of the benchmarks and of
//! the first try. A plain component of Rust's std, as users build them.

use wasip2::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};

struct Hello;

impl wasip2::exports::http::incoming_handler::Guest for Hello {
    fn handle(_request: IncomingRequest, out: ResponseOutparam) {
        let headers = Fields::new();
        headers
            .append("content-type", b"text/plain")
            .expect("a valid header");
        let response = OutgoingResponse::new(headers);
        let body = response.body().expect("the body is taken once");
        ResponseOutparam::set(out, Ok(response));

        let stream = body.write().expect("the stream is taken once");
        // A client that hung up makes these fail, and then nothing is left to do.
        let sent = stream.blocking_write_and_flush(b"Hello from the edge!\n");
        drop(stream);
        if sent.is_ok() {
            let _ = OutgoingBody::finish(body, None);
        }
    }
}

wasip2::http::proxy::export!(Hello);
