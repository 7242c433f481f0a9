//! 0.3: yields to the host over and over and does nothing else.

use wasip3::http::types::{ErrorCode, Request, Response};
use wasip3::wit_bindgen::rt::async_support::yield_async;

async fn misbehave(_request: Request) -> Result<Response, ErrorCode> {
    loop {
        yield_async().await;
    }
}

p3::misbehaves!(misbehave);
