//! Fails in each way a guest of 0.2 can fail by itself.

use core::arch::wasm32::unreachable;

use p2::Body;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

/// Half of the length that `/half` declares.
const HALF: &[u8] = &[b'h'; 4096];
const HALF_MS: u64 = 100;

struct Traps;

impl wasip2::exports::http::incoming_handler::Guest for Traps {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        match p2::target(&request).path() {
            "/" => unreachable(),
            "/half" => {
                let headers = [("content-type", "text/plain"), ("content-length", "8192")];
                let headers = headers.map(|(name, value)| (name, value.as_bytes()));
                let mut body = Body::start(out, 200, &headers);
                // Gone or not, what follows is the trap, with the body still open: after a
                // while, so that a host has sent on what it was given.
                let _ = body.send(HALF);
                p2::wait_ms(HALF_MS);
                unreachable()
            }
            "/panic" => panic!("the guest panics on purpose"),
            // The outparam is dropped unset.
            "/nothing" => {}
            "/ok" => p2::answer(out, 200, "ok\n"),
            _ => p2::unknown_path(out),
        }
    }
}

wasip2::http::proxy::export!(Traps);
