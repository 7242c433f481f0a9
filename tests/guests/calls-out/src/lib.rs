//! Requests the URL that the query names, and relays what comes back.

use p2::{Body, Gone};
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingBody, IncomingRequest, IncomingResponse, OutgoingRequest,
    ResponseOutparam, Scheme,
};
use wasip2::io::streams::StreamError;

const PIECE_BYTES_MAX: u64 = 64 * 1024;

struct CallsOut;

impl wasip2::exports::http::incoming_handler::Guest for CallsOut {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let Some(url) = p2::target(&request).text("url") else {
            return p2::answer(out, 400, "name a URL: /?url=http://host:port/path\n");
        };
        let Some(request) = request_of(&url) else {
            return p2::answer(
                out,
                400,
                "a URL starts with http:// or https:// and a host\n",
            );
        };
        match send(request) {
            Ok(response) => relay(&response, out),
            Err(code) => p2::answer(out, 502, &format!("{}\n", name(&code))),
        }
    }
}

fn request_of(url: &str) -> Option<OutgoingRequest> {
    let (scheme, rest) = match url.split_once("://")? {
        ("http", rest) => (Scheme::Http, rest),
        ("https", rest) => (Scheme::Https, rest),
        _ => return None,
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let request = OutgoingRequest::new(Fields::new());
    request.set_scheme(Some(&scheme)).ok()?;
    request.set_authority(Some(authority)).ok()?;
    request
        .set_path_with_query(Some(if path.is_empty() { "/" } else { path }))
        .ok()?;
    Some(request)
}

fn send(request: OutgoingRequest) -> Result<IncomingResponse, ErrorCode> {
    let arriving = outgoing_handler::handle(request, None)?;
    arriving.subscribe().block();
    let arrived = arriving.get().expect("the wait has ended");
    arrived.expect("the response is taken once")
}

fn relay(response: &IncomingResponse, out: ResponseOutparam) {
    let types = response.headers().get("content-type");
    let headers: Vec<(&str, &[u8])> = types
        .iter()
        .map(|value| ("content-type", value.as_slice()))
        .collect();
    let mut body = Body::start(out, response.status(), &headers);
    let incoming = response.consume().expect("the body is taken once");
    if copy(&incoming, &mut body).is_ok() {
        body.finish(None);
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

/// The code's name as in Rust's bindings, such as `ConnectionRefused`, with its details.
fn name(code: &ErrorCode) -> String {
    format!("{code:?}").replace("ErrorCode::", "")
}

wasip2::http::proxy::export!(CallsOut);
