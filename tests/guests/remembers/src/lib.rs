//! Counts its requests in a static: a fresh instance for each request always answers 1.

use std::sync::atomic::{AtomicU64, Ordering};

use wasip2::http::types::{IncomingRequest, ResponseOutparam};

static REQUESTS: AtomicU64 = AtomicU64::new(0);

struct Remembers;

impl wasip2::exports::http::incoming_handler::Guest for Remembers {
    fn handle(_request: IncomingRequest, out: ResponseOutparam) {
        let count = REQUESTS.fetch_add(1, Ordering::Relaxed) + 1;
        p2::answer(out, 200, &format!("{count}\n"));
    }
}

wasip2::http::proxy::export!(Remembers);
