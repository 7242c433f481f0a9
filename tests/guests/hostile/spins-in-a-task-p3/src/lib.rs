//! 0.3: answers, and computes without end in a task it has spawned.

use std::hint::black_box;

use wasip3::http::types::{ErrorCode, Request, Response};

async fn misbehave(_request: Request) -> Result<Response, ErrorCode> {
    wasip3::spawn(async {
        // After the response, whose task was spawned first.
        p3::wait_ms(50).await;
        loop {
            black_box(());
        }
    });
    Ok(p3::answer(200, "ok\n"))
}

p3::misbehaves!(misbehave);
