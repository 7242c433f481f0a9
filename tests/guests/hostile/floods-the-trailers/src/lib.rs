//! Answers, and adds trailers until it is refused.

use p2::{Body, Target};
use wasip2::http::types::{Fields, IncomingRequest, ResponseOutparam};

fn misbehave(_target: &Target, _request: IncomingRequest, out: ResponseOutparam) {
    let mut body = Body::start(out, 200, &[]);
    if body.send(b"trailers follow\n").is_err() {
        return;
    }
    let trailers = Fields::new();
    for number in 0_u64.. {
        if trailers.append(&format!("x-{number}"), b"flood").is_err() {
            break;
        }
    }
    body.finish(Some(trailers));
}

p2::misbehaves!(misbehave);
