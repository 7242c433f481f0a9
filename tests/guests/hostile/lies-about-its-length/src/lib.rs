//! Declares 8192 bytes and sends 4096; on /more declares 4, on /twice 4 and 8.

use p2::{Body, Target};
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

fn misbehave(target: &Target, _request: IncomingRequest, out: ResponseOutparam) {
    let declared: &[&str] = match target.path() {
        "/more" => &["4"],
        "/twice" => &["4", "8"],
        _ => &["8192"],
    };
    let headers: Vec<_> = declared
        .iter()
        .map(|length| ("content-length", length.as_bytes()))
        .collect();
    let mut body = Body::start(out, 200, &headers);
    let _ = body.send(&[b'x'; 4096]);
    body.finish(None);
}

p2::misbehaves!(misbehave);
