//! Prints one line to stderr that never ends.

use std::io::{self, Write};

use p2::Target;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

fn misbehave(_target: &Target, _request: IncomingRequest, _out: ResponseOutparam) {
    loop {
        let _ = io::stderr().write_all(&[b'x'; 4096]);
    }
}

p2::misbehaves!(misbehave);
