//! Fails in each way a guest of 0.3 can fail by itself.

use core::arch::wasm32::unreachable;

use wasip3::http::types::{ErrorCode, Fields, Request, Response};

/// Half of the length that `/half` declares.
const HALF: [u8; 4096] = [b'h'; 4096];
const HALF_MS: u64 = 100;

struct Traps;

impl wasip3::exports::http::handler::Guest for Traps {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        match p3::target(&request).path() {
            "/" => unreachable(),
            "/half" => Ok(half()),
            "/panic" => panic!("the guest panics on purpose"),
            "/error" => Err(ErrorCode::InternalError(Some(
                "the guest refuses".to_owned(),
            ))),
            "/ok" => Ok(p3::answer(200, "ok\n")),
            _ => Ok(p3::unknown_path()),
        }
    }
}

fn half() -> Response {
    let headers = Fields::new();
    headers
        .set("content-length", &[b"8192".to_vec()])
        .expect("a valid header");
    let (response, mut body) = p3::start(200, headers);
    wasip3::spawn(async move {
        // Gone or not, what follows is the trap, with the body still open: after a while, so
        // that a host has sent on what it was given.
        let _ = body.send(HALF.to_vec()).await;
        p3::wait_ms(HALF_MS).await;
        unreachable()
    });
    response
}

wasip3::http::service::export!(Traps);
