//! Waits on the monotonic clock, before it answers or amid the body.

use p2::Body;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

/// One wait of the many that `/forever` is made of.
const HOUR_MS: u64 = 3_600_000;

struct Waits;

impl wasip2::exports::http::incoming_handler::Guest for Waits {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let target = p2::target(&request);
        let ms = target.number("ms", 0);
        match target.path() {
            "/" => {
                p2::wait_ms(ms);
                p2::answer(out, 200, &format!("waited {ms} ms\n"));
            }
            "/head-then-wait" => {
                let mut body = Body::start(out, 200, &[("content-type", b"text/plain")]);
                if body.send(b"waiting from here\n").is_err() {
                    return;
                }
                p2::wait_ms(ms);
                if body.send(format!("waited {ms} ms\n").as_bytes()).is_ok() {
                    body.finish(None);
                }
            }
            "/forever" => loop {
                p2::wait_ms(HOUR_MS);
            },
            _ => p2::unknown_path(out),
        }
    }
}

wasip2::http::proxy::export!(Waits);
