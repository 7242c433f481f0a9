//! Tries header names and values that would end a line or a header, or are the host's own, and answers how each fared.

use p2::Target;
use wasip2::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};

fn misbehave(_target: &Target, _request: IncomingRequest, out: ResponseOutparam) {
    let fields = Fields::new();
    let mut report = String::new();
    for (name, value) in TRIED {
        let fared = match fields.append(name, value) {
            Ok(()) => "ACCEPTED",
            Err(_) => "refused",
        };
        report += &format!("{fared} {name:?}: {:?}\n", String::from_utf8_lossy(value));
    }
    let response = OutgoingResponse::new(fields);
    let body = response.body().expect("the body is taken once");
    ResponseOutparam::set(out, Ok(response));
    let stream = body.write().expect("the stream is taken once");
    let _ = stream.blocking_write_and_flush(report.as_bytes());
    drop(stream);
    let _ = OutgoingBody::finish(body, None);
}

const TRIED: &[(&str, &[u8])] = &[
    ("x-injected", b"a\r\nx-second: b"),
    ("x-injected", b"a\nx-second: b"),
    ("x-injected", b"a\rx-second: b"),
    ("x-injected", b"a\r\n\r\n<p>a body"),
    ("x-injected", b"a\0b"),
    ("x-injected", b"a\x7fb"),
    ("x-injected\r\nx-second", b"a"),
    ("x-injected: a\r\nx-second", b"b"),
    ("x-injected:", b"a"),
    ("x injected", b"a"),
    ("", b"a"),
    (":status", b"200"),
    ("x-\u{e4}", b"a"),
    ("connection", b"close"),
    ("keep-alive", b"timeout=9"),
    ("proxy-connection", b"close"),
    ("transfer-encoding", b"chunked"),
    ("upgrade", b"websocket"),
    ("http2-settings", b"a"),
];

p2::misbehaves!(misbehave);
