//! Counts its requests in a static, as a service of WASI 0.3: a fresh instance for each request always answers 1.
//! `/wait?ms=N` waits and says how many requests were at once in this instance at most; `/trap` traps, `/spin` never
//! ends.

use std::sync::atomic::{AtomicU64, Ordering};

use wasip3::http::types::{ErrorCode, Request, Response};

static REQUESTS: AtomicU64 = AtomicU64::new(0);
static NOW: AtomicU64 = AtomicU64::new(0);
static MOST: AtomicU64 = AtomicU64::new(0);

struct Remembers;

impl wasip3::exports::http::handler::Guest for Remembers {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let count = REQUESTS.fetch_add(1, Ordering::Relaxed) + 1;
        let target = p3::target(&request);
        match target.path() {
            "/wait" => {
                let now = NOW.fetch_add(1, Ordering::Relaxed) + 1;
                MOST.fetch_max(now, Ordering::Relaxed);
                p3::wait_ms(target.number("ms", 0)).await;
                NOW.fetch_sub(1, Ordering::Relaxed);
                let most = MOST.load(Ordering::Relaxed);
                Ok(p3::answer(200, &format!("{count} {most}\n")))
            }
            "/trap" => core::arch::wasm32::unreachable(),
            "/spin" => loop {
                core::hint::spin_loop();
            },
            _ => Ok(p3::answer(200, &format!("{count}\n"))),
        }
    }
}

wasip3::http::service::export!(Remembers);
