//! Reads the request body one piece at a time, with a wait before each, and answers what it
//! has read: the way to see whether a host holds a fast client back.

use wasip2::http::types::{IncomingBody, IncomingRequest, ResponseOutparam};
use wasip2::io::streams::StreamError;

const PIECE_BYTES_MAX: u64 = 1024 * 1024;

/// FNV-1a of 64 bits, as its authors give it: offset basis and prime.
const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

struct ReadsSlowly;

impl wasip2::exports::http::incoming_handler::Guest for ReadsSlowly {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let target = p2::target(&request);
        let ms = target.number("ms", 0);
        let piece_bytes = target.number("chunk", 4096).clamp(1, PIECE_BYTES_MAX);
        let body = request.consume().expect("the body is taken once");
        let (status, text) = match read(&body, ms, piece_bytes) {
            Ok((count, hash)) => (200, format!("{count} bytes, fnv1a64 {hash:016x}\n")),
            Err(count) => (400, format!("the body broke off after {count} bytes\n")),
        };
        p2::answer(out, status, &text);
    }
}

/// The count of the bytes and their hash, or the count up to where the body broke off.
fn read(body: &IncomingBody, ms: u64, piece_bytes: u64) -> Result<(u64, u64), u64> {
    let stream = body.stream().expect("the stream is taken once");
    let (mut count, mut hash) = (0, FNV_BASIS);
    loop {
        p2::wait_ms(ms);
        match stream.blocking_read(piece_bytes) {
            Ok(piece) => {
                count += piece.len() as u64;
                for byte in piece {
                    hash = (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME);
                }
            }
            Err(StreamError::Closed) => return Ok((count, hash)),
            Err(StreamError::LastOperationFailed(_)) => return Err(count),
        }
    }
}

wasip2::http::proxy::export!(ReadsSlowly);
