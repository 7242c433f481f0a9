//! 0.3: sends chunks of 4 KiB without end.

use wasip3::http::types::{ErrorCode, Fields, Request, Response};

async fn misbehave(_request: Request) -> Result<Response, ErrorCode> {
    let (response, mut body) = p3::start(200, Fields::new());
    wasip3::spawn(async move { while body.send(vec![b'x'; 4096]).await.is_ok() {} });
    Ok(response)
}

p3::misbehaves!(misbehave);
