//! Counts its requests in a static: a fresh instance for each request always answers 1. Other paths than `/` count too,
//! and then grow the memory, print, trap, or never end.

use std::sync::atomic::{AtomicU64, Ordering};

use wasip2::http::types::{IncomingRequest, ResponseOutparam};

static REQUESTS: AtomicU64 = AtomicU64::new(0);

struct Remembers;

impl wasip2::exports::http::incoming_handler::Guest for Remembers {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let count = REQUESTS.fetch_add(1, Ordering::Relaxed) + 1;
        let target = p2::target(&request);
        match target.path() {
            "/grow" => {
                let pages = usize::try_from(target.number("mib", 1) * 16).unwrap_or(usize::MAX);
                if core::arch::wasm32::memory_grow::<0>(pages) == usize::MAX {
                    return p2::answer(out, 507, "no memory\n");
                }
            }
            // Without an end of the line: it ends with the request.
            "/print" => eprint!("request {count}"),
            "/trap" => core::arch::wasm32::unreachable(),
            "/spin" => loop {
                core::hint::spin_loop();
            },
            _ => {}
        }
        p2::answer(out, 200, &format!("{count}\n"));
    }
}

wasip2::http::proxy::export!(Remembers);
