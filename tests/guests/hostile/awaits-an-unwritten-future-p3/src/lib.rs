//! 0.3: awaits a future that it never writes.

use p3::End;
use wasip3::http::types::{ErrorCode, Request, Response};
use wasip3::wit_future;

async fn misbehave(_request: Request) -> Result<Response, ErrorCode> {
    let (_writer, reader) = wit_future::new::<End>(|| Ok(None));
    let _ = reader.await;
    Ok(p3::answer(
        200,
        "the future was written, which it never should\n",
    ))
}

p3::misbehaves!(misbehave);
