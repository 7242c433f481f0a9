//! The head of a guest's answer, or the refusal in its place.

use std::task::Poll;

use http::Response;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;
use wasmtime_wasi_http::WasiBody;

use super::guest::Guest;
use super::request_head::header_bytes;
use crate::engine::Head;
use crate::quota::Refusal;

/// Lets the guest run until it gives its answer's head, ends, or is out of time.
pub(super) async fn head_of(
    guest: &mut Guest,
    head: oneshot::Receiver<Head>,
) -> Result<Response<WasiBody>, Refusal> {
    // `None` once it gave what it had: a guest that is away may have ended before it is known how.
    let mut head = Some(head);
    std::future::poll_fn(|cx| {
        let ended = guest.poll_end(cx);
        // Before the guest's own answer, which would be to a body that was cut off.
        if guest.is_request_over() {
            guest.fail(Refusal::Body, "the request body is larger than the limit");
            return Poll::Ready(Err(Refusal::Body));
        }
        let answer = match &mut head {
            // Looked at before it is waited for: a task that has used up its turns (a connection with many streams does)
            // is told to come again, whether there is an answer or not, and the guest has its end only once.
            Some(waiting) => match waiting.try_recv() {
                Err(TryRecvError::Empty) => std::pin::Pin::new(waiting).poll(cx).map_err(drop),
                Err(TryRecvError::Closed) => Poll::Ready(Err(())),
                Ok(answer) => Poll::Ready(Ok(answer)),
            },
            None => Poll::Pending,
        };
        if answer.is_ready() {
            head = None;
        }
        match answer {
            Poll::Ready(Ok(Ok(response))) => {
                if let Poll::Ready(end) = ended
                    && end.result.is_err()
                {
                    let (refusal, why) = end.refusal();
                    guest.fail(refusal, &why);
                    return Poll::Ready(Err(refusal));
                }
                // Interim answers are between the client and the gateway (RFC 9110 §15.2).
                if response.status().is_informational() {
                    guest.fail(
                        Refusal::GuestError,
                        &format!("the guest answered {}", response.status()),
                    );
                    return Poll::Ready(Err(Refusal::GuestError));
                }
                // Beyond 599 there is no status code (RFC 9110 §15).
                if response.status().as_u16() > 599 {
                    guest.fail(
                        Refusal::GuestError,
                        &format!("the guest answered {}", response.status().as_u16()),
                    );
                    return Poll::Ready(Err(Refusal::GuestError));
                }
                let most = guest.response_header_bytes_max();
                if header_bytes(response.headers()) as u64 > most {
                    guest.fail(
                        Refusal::ResponseHeader,
                        &format!("the fields of the response's header take more than {most} bytes"),
                    );
                    return Poll::Ready(Err(Refusal::ResponseHeader));
                }
                return Poll::Ready(Ok(response));
            }
            Poll::Ready(Ok(Err(code))) => {
                guest.fail(Refusal::GuestError, &code);
                return Poll::Ready(Err(Refusal::GuestError));
            }
            Poll::Ready(_) | Poll::Pending => {}
        }
        if let Poll::Ready(end) = ended {
            let (refusal, why) = end.refusal();
            guest.fail(refusal, &why);
            return Poll::Ready(Err(refusal));
        }
        guest.poll_head_deadline(cx).map(|()| {
            guest.fail(Refusal::Deadline, "the guest gave no answer in time");
            Err(Refusal::Deadline)
        })
    })
    .await
}
