//! Ends itself with exit code 1, on /zero with 0.

use std::process;

use p2::Target;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

fn misbehave(target: &Target, _request: IncomingRequest, _out: ResponseOutparam) {
    process::exit(i32::from(target.path() != "/zero"));
}

p2::misbehaves!(misbehave);
