//! Sends bodies of any length whose every byte can be checked: byte i is i modulo 251, a prime,
//! so that no piece of a power of two in length repeats another.

use p2::{Body, Gone};
use wasip2::http::types::{Fields, IncomingRequest, ResponseOutparam};

const PERIOD_BYTES: u64 = 251;
/// The most that one chunk may have, whatever the query says.
const CHUNK_BYTES_MAX: u64 = 1024 * 1024;

struct Streams;

impl wasip2::exports::http::incoming_handler::Guest for Streams {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let target = p2::target(&request);
        let chunk_bytes = target.number("chunk", 4096).clamp(1, CHUNK_BYTES_MAX);
        let body_bytes = target.number("kib", 64).saturating_mul(1024);
        let binary = ("content-type", "application/octet-stream".as_bytes());
        match target.path() {
            "/" => {
                let mut body = Body::start(out, 200, &[binary]);
                if send(&mut body, body_bytes, chunk_bytes).is_ok() {
                    body.finish(None);
                }
            }
            "/endless" => {
                let mut body = Body::start(out, 200, &[binary]);
                // It ends when the client or the host has had enough.
                let _ = send(&mut body, u64::MAX, chunk_bytes);
            }
            "/trailers" => {
                // Announced, for a client of HTTP/1.1 to get them (RFC 9110 §6.6.2).
                let announced = ("trailer", "x-body-bytes, x-guest".as_bytes());
                let mut body = Body::start(out, 200, &[binary, announced]);
                if send(&mut body, body_bytes, chunk_bytes).is_ok() {
                    body.finish(Some(trailers(body_bytes)));
                }
            }
            _ => p2::unknown_path(out),
        }
    }
}

fn trailers(body_bytes: u64) -> Fields {
    let trailers = Fields::new();
    for (name, value) in [
        ("x-body-bytes", body_bytes.to_string()),
        ("x-guest", "streams".into()),
    ] {
        trailers
            .append(name, value.as_bytes())
            .expect("a valid trailer");
    }
    trailers
}

fn send(body: &mut Body, body_bytes: u64, chunk_bytes: u64) -> Result<(), Gone> {
    // A chunk may begin at any place in the pattern, so one period more than a chunk is kept.
    let pattern: Vec<u8> = (0..chunk_bytes + PERIOD_BYTES)
        .map(|i| (i % PERIOD_BYTES) as u8)
        .collect();
    let mut sent_bytes = 0;
    while sent_bytes < body_bytes {
        let begin = (sent_bytes % PERIOD_BYTES) as usize;
        let now_bytes = chunk_bytes.min(body_bytes - sent_bytes);
        body.send(&pattern[begin..][..now_bytes as usize])?;
        sent_bytes += now_bytes;
    }
    Ok(())
}

wasip2::http::proxy::export!(Streams);
