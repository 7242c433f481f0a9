//! 0.3: makes futures until it is refused.

use std::mem::forget;

use p3::End;
use wasip3::http::types::{ErrorCode, Request, Response};
use wasip3::wit_future;

async fn misbehave(_request: Request) -> Result<Response, ErrorCode> {
    loop {
        forget(wit_future::new::<End>(|| Ok(None)));
    }
}

p3::misbehaves!(misbehave);
