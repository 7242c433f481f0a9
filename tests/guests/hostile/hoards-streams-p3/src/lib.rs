//! 0.3: makes streams until it is refused.

use std::mem::forget;

use wasip3::http::types::{ErrorCode, Request, Response};
use wasip3::wit_stream;

async fn misbehave(_request: Request) -> Result<Response, ErrorCode> {
    loop {
        forget(wit_stream::new::<u8>());
    }
}

p3::misbehaves!(misbehave);
