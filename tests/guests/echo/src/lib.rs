//! Streams the request body back as it arrives, piece by piece, with the request's content
//! type and its trailers.

use p2::{Body, Gone};
use wasip2::http::types::{
    Fields, FutureTrailers, IncomingBody, IncomingRequest, ResponseOutparam,
};
use wasip2::io::streams::StreamError;

/// The most that is held at any time.
const PIECE_BYTES_MAX: u64 = 64 * 1024;

struct Echo;

impl wasip2::exports::http::incoming_handler::Guest for Echo {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let headers = request.headers();
        let mut kept: Vec<(&str, Vec<u8>)> = Vec::new();
        // Trailers have to be announced to reach a client of HTTP/1.1 (RFC 9110 §6.6.2).
        for name in ["content-type", "trailer"] {
            kept.extend(headers.get(name).into_iter().map(|value| (name, value)));
        }
        let kept: Vec<(&str, &[u8])> = kept.iter().map(|(n, v)| (*n, v.as_slice())).collect();
        let incoming = request.consume().expect("the body is taken once");
        let mut outgoing = Body::start(out, 200, &kept);
        if copy(&incoming, &mut outgoing).is_ok() {
            outgoing.finish(trailers(&IncomingBody::finish(incoming)));
        }
    }
}

fn copy(incoming: &IncomingBody, outgoing: &mut Body) -> Result<(), Gone> {
    let stream = incoming.stream().expect("the stream is taken once");
    loop {
        match stream.blocking_read(PIECE_BYTES_MAX) {
            Ok(piece) => outgoing.send(&piece)?,
            Err(StreamError::Closed) => return Ok(()),
            Err(StreamError::LastOperationFailed(_)) => return Err(Gone),
        }
    }
}

fn trailers(arriving: &FutureTrailers) -> Option<Fields> {
    arriving.subscribe().block();
    let arrived = arriving.get()?.ok()?.ok()??;
    Some(arrived.clone())
}

wasip2::http::proxy::export!(Echo);
