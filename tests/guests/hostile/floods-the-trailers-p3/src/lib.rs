//! 0.3: answers, and adds trailers until it is refused.

use wasip3::http::types::{ErrorCode, Fields, Request, Response};

async fn misbehave(_request: Request) -> Result<Response, ErrorCode> {
    let (response, mut body) = p3::start(200, Fields::new());
    wasip3::spawn(async move {
        if body.send(b"trailers follow\n".to_vec()).await.is_err() {
            return;
        }
        let trailers = Fields::new();
        for number in 0_u64.. {
            if trailers.append(&format!("x-{number}"), b"flood").is_err() {
                break;
            }
        }
        body.finish(Ok(Some(trailers))).await;
    });
    Ok(response)
}

p3::misbehaves!(misbehave);
