//! Computes without end: before it answers, or amid the body.

use std::hint::black_box;

use p2::Body;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

struct SpinsForever;

impl wasip2::exports::http::incoming_handler::Guest for SpinsForever {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        match p2::target(&request).path() {
            "/" => spin(),
            "/after-head" => {
                let mut body = Body::start(out, 200, &[("content-type", b"text/plain")]);
                if body.send(b"spinning from here\n").is_ok() {
                    spin();
                }
            }
            "/ok" => p2::answer(out, 200, "ok\n"),
            _ => p2::unknown_path(out),
        }
    }
}

fn spin() -> ! {
    let mut turns: u64 = 0;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

wasip2::http::proxy::export!(SpinsForever);
