//! Answers an error with a message of 1 MiB.

use p2::Target;
use wasip2::http::types::{ErrorCode, IncomingRequest, ResponseOutparam};

fn misbehave(_target: &Target, _request: IncomingRequest, out: ResponseOutparam) {
    let message = "x".repeat(1 << 20);
    ResponseOutparam::set(out, Err(ErrorCode::InternalError(Some(message))));
}

p2::misbehaves!(misbehave);
