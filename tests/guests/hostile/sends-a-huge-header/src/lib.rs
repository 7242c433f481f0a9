//! Sends a header field of 100 KiB, on /under one of 60 KiB.

use p2::{Body, Target};
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

fn misbehave(target: &Target, _request: IncomingRequest, out: ResponseOutparam) {
    let kib = if target.path() == "/under" { 60 } else { 100 };
    let value = vec![b'x'; kib << 10];
    let mut body = Body::start(out, 200, &[("x-huge", &value)]);
    if body.send(b"sent\n").is_ok() {
        body.finish(None);
    }
}

p2::misbehaves!(misbehave);
