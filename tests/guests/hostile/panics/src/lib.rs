//! Panics with a message of two lines.

use p2::Target;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

fn misbehave(_target: &Target, _request: IncomingRequest, _out: ResponseOutparam) {
    panic!("on purpose\nand with a second line");
}

p2::misbehaves!(misbehave);
