//! 0.3: calls thread.yield over and over.

use wasip3::http::types::{ErrorCode, Request, Response};
use wasip3::wit_bindgen::rt::async_support::yield_blocking;

async fn misbehave(_request: Request) -> Result<Response, ErrorCode> {
    loop {
        yield_blocking();
    }
}

p3::misbehaves!(misbehave);
