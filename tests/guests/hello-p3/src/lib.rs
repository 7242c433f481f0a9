//! Answers 200 with a short text, and does nothing else, as a service of WASI 0.3.

use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::{wit_future, wit_stream};

struct Hello;

impl wasip3::exports::http::handler::Guest for Hello {
    async fn handle(_request: Request) -> Result<Response, ErrorCode> {
        let headers = Fields::new();
        headers
            .append("content-type", b"text/plain")
            .expect("a valid header");
        let (mut body, body_read) = wit_stream::new();
        // Dropped unwritten: it then resolves to "no trailers".
        let (_, no_trailers) = wit_future::new(|| Ok(None));
        let (response, _sent) = Response::new(headers, Some(body_read), no_trailers);
        wasip3::spawn(async move {
            // What a client that hung up did not take comes back, and is dropped.
            drop(body.write_all(b"Hello from the edge!\n".to_vec()).await);
        });
        Ok(response)
    }
}

wasip3::http::service::export!(Hello);
