//! 0.3: takes the request body, never reads from it and never answers.

use wasip3::http::types::{ErrorCode, Request, Response};
use wasip3::wit_future;

async fn misbehave(request: Request) -> Result<Response, ErrorCode> {
    let (_, no_trouble) = wit_future::new(|| Ok(()));
    let _body = Request::consume_body(request, no_trouble);
    loop {
        p3::wait_ms(3_600_000).await;
    }
}

p3::misbehaves!(misbehave);
