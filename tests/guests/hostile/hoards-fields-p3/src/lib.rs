//! 0.3: makes fields until it is refused.

use std::mem::forget;

use wasip3::http::types::{ErrorCode, Fields, Request, Response};

async fn misbehave(_request: Request) -> Result<Response, ErrorCode> {
    loop {
        forget(Fields::new());
    }
}

p3::misbehaves!(misbehave);
