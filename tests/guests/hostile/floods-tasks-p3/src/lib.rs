//! 0.3: starts tasks without end, each of which waits for an hour.

use wasip3::http::types::{ErrorCode, Request, Response};

async fn misbehave(_request: Request) -> Result<Response, ErrorCode> {
    loop {
        for _ in 0..100 {
            wasip3::spawn(p3::wait_ms(3_600_000));
        }
        p3::wait_ms(1).await;
    }
}

p3::misbehaves!(misbehave);
