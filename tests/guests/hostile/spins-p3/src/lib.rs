//! 0.3: turns round in an empty loop before it answers.

use std::hint::black_box;

use wasip3::http::types::{ErrorCode, Request, Response};

async fn misbehave(_request: Request) -> Result<Response, ErrorCode> {
    loop {
        black_box(());
    }
}

p3::misbehaves!(misbehave);
