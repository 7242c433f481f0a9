//! 0.3: starts a wait of an hour over and over, and cancels each at once.

use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::task::Poll;

use wasip3::clocks::monotonic_clock::wait_for;
use wasip3::http::types::{ErrorCode, Request, Response};

async fn misbehave(_request: Request) -> Result<Response, ErrorCode> {
    loop {
        let mut wait = pin!(wait_for(3_600_000_000_000));
        poll_fn(|context| {
            let _ = wait.as_mut().poll(context);
            Poll::Ready(())
        })
        .await;
    }
}

p3::misbehaves!(misbehave);
