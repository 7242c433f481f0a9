//! 0.3: sends the head and 4 KiB, and then nothing more and no end.

use wasip3::http::types::{ErrorCode, Fields, Request, Response};

async fn misbehave(_request: Request) -> Result<Response, ErrorCode> {
    let (response, mut body) = p3::start(200, Fields::new());
    wasip3::spawn(async move {
        let _ = body.send(vec![b'x'; 4096]).await;
        loop {
            p3::wait_ms(3_600_000).await;
        }
    });
    Ok(response)
}

p3::misbehaves!(misbehave);
