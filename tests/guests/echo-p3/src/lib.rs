//! Streams the request body back as it arrives, with the request's content type and its
//! trailers, as a service of WASI 0.3. On `/pass` the stream is handed over whole, so that
//! the host moves the bytes and the guest never sees them.

use query::Target;
use wasip3::http::types::{ErrorCode, Fields, Request, Response, Trailers};
use wasip3::wit_bindgen::rt::async_support::{
    FutureReader, FutureWriter, StreamReader, StreamResult, StreamWriter,
};
use wasip3::{wit_future, wit_stream};

/// The most that is held at any time.
const PIECE_BYTES_MAX: usize = 64 * 1024;

type TrailersResult = Result<Option<Trailers>, ErrorCode>;

struct Echo;

impl wasip3::exports::http::handler::Guest for Echo {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let target = Target::new(request.get_path_with_query());
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
        let (outgoing, body) = wit_stream::new();
        // What the body ends with if `copy` does not come to its end.
        let (ending, end) = wit_future::new(|| Err(ErrorCode::HttpResponseIncomplete));
        wasip3::spawn(copy(incoming, trailers, outgoing, ending));
        Ok(Response::new(headers, Some(body), end).0)
    }
}

async fn copy(
    mut incoming: StreamReader<u8>,
    trailers: FutureReader<TrailersResult>,
    mut outgoing: StreamWriter<u8>,
    ending: FutureWriter<TrailersResult>,
) {
    let mut piece = Vec::with_capacity(PIECE_BYTES_MAX);
    loop {
        let (progress, read) = incoming.read(piece).await;
        if progress == StreamResult::Dropped {
            break;
        }
        let mut unsent = outgoing.write_all(read).await;
        if !unsent.is_empty() {
            return; // The client is gone.
        }
        unsent.clear();
        unsent.reserve(PIECE_BYTES_MAX);
        piece = unsent;
    }
    drop(incoming);
    drop(outgoing);
    // Not taken when the client is gone by now.
    let _ = ending.write(trailers.await).await;
}

wasip3::http::service::export!(Echo);
