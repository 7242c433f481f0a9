//! 0.3: answers, and traps 100 ms later in a task it has spawned.

use core::arch::wasm32::unreachable;

use wasip3::http::types::{ErrorCode, Request, Response};

async fn misbehave(_request: Request) -> Result<Response, ErrorCode> {
    wasip3::spawn(async {
        p3::wait_ms(100).await;
        unreachable();
    });
    Ok(p3::answer(200, "ok\n"))
}

p3::misbehaves!(misbehave);
