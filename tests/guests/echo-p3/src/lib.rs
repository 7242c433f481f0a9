//! Streams the request body back as it arrives, with the request's content type and its
//! trailers, as a service of WASI 0.3. On `/pass` the stream is handed over whole, so that
//! the host moves the bytes and the guest never sees them.

use p3::{Body, End};
use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::wit_bindgen::rt::async_support::{FutureReader, StreamReader, StreamResult};
use wasip3::wit_future;

/// The most that is held at any time.
const PIECE_BYTES_MAX: usize = 64 * 1024;

struct Echo;

impl wasip3::exports::http::handler::Guest for Echo {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let target = p3::target(&request);
        let asked = request.get_headers();
        let headers = Fields::new();
        // Trailers have to be announced to reach a client of HTTP/1.1 (RFC 9110 §6.6.2).
        for name in ["content-type", "trailer"] {
            headers.set(name, &asked.get(name)).expect("a valid header");
        }
        // Dropped unwritten: it then resolves to "the guest had no trouble with the body".
        let (_, no_trouble) = wit_future::new(|| Ok(()));
        let (incoming, trailers) = Request::consume_body(request, no_trouble);
        if target.path() == "/pass" {
            return Ok(Response::new(headers, Some(incoming), trailers).0);
        }
        let (response, body) = p3::start(200, headers);
        wasip3::spawn(copy(incoming, trailers, body));
        Ok(response)
    }
}

async fn copy(mut incoming: StreamReader<u8>, trailers: FutureReader<End>, mut body: Body) {
    loop {
        let (progress, piece) = incoming.read(Vec::with_capacity(PIECE_BYTES_MAX)).await;
        if progress == StreamResult::Dropped {
            break;
        }
        if body.send(piece).await.is_err() {
            return; // The client is gone.
        }
    }
    drop(incoming);
    body.finish(trailers.await).await;
}

wasip3::http::service::export!(Echo);
