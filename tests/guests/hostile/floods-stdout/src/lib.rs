//! Prints lines without end.

use std::io::{self, Write};

use p2::Target;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

fn misbehave(_target: &Target, _request: IncomingRequest, _out: ResponseOutparam) {
    let mut stdout = io::stdout().lock();
    loop {
        let _ = stdout.write_all(b"a line like any other of the flood\n");
    }
}

p2::misbehaves!(misbehave);
