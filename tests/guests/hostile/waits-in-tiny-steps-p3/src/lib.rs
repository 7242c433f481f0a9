//! 0.3: waits for a nanosecond, again and again.

use wasip3::clocks::monotonic_clock::wait_for;
use wasip3::http::types::{ErrorCode, Request, Response};

async fn misbehave(_request: Request) -> Result<Response, ErrorCode> {
    loop {
        wait_for(1).await;
    }
}

p3::misbehaves!(misbehave);
