//! Waits on the monotonic clock of WASI 0.3, before it answers or amid the body.

use wasip3::http::types::{ErrorCode, Fields, Request, Response};

/// One wait of the many that `/forever` is made of.
const HOUR_MS: u64 = 3_600_000;

struct Waits;

impl wasip3::exports::http::handler::Guest for Waits {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let target = p3::target(&request);
        let ms = target.number("ms", 0);
        match target.path() {
            "/" => {
                p3::wait_ms(ms).await;
                Ok(p3::answer(200, &format!("waited {ms} ms\n")))
            }
            "/head-then-wait" => Ok(head_then_wait(ms)),
            "/forever" => loop {
                p3::wait_ms(HOUR_MS).await;
            },
            _ => Ok(p3::unknown_path()),
        }
    }
}

fn head_then_wait(ms: u64) -> Response {
    let headers = Fields::new();
    headers
        .set("content-type", &[b"text/plain".to_vec()])
        .expect("a valid header");
    let (response, mut body) = p3::start(200, headers);
    wasip3::spawn(async move {
        if body.send(b"waiting from here\n".to_vec()).await.is_err() {
            return;
        }
        p3::wait_ms(ms).await;
        if body
            .send(format!("waited {ms} ms\n").into_bytes())
            .await
            .is_ok()
        {
            body.finish(Ok(None)).await;
        }
    });
    response
}

wasip3::http::service::export!(Waits);
