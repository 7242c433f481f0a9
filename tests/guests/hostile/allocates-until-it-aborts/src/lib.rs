//! Allocates a MiB at a time without end, and aborts when it is refused.

use std::hint::black_box;

use p2::Target;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

fn misbehave(_target: &Target, _request: IncomingRequest, _out: ResponseOutparam) {
    let mut blocks = Vec::new();
    loop {
        blocks.push(black_box(vec![1_u8; 1 << 20]));
    }
}

p2::misbehaves!(misbehave);
