//! Adds header fields until it is refused, or as many as the query says with fields=N, and sends them all.

use p2::Target;
use wasip2::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};

fn misbehave(target: &Target, _request: IncomingRequest, out: ResponseOutparam) {
    let fields = Fields::new();
    for number in 0..target.number("fields", u64::MAX) {
        if fields.append(&format!("x-{number}"), b"flood").is_err() {
            break;
        }
    }
    let response = OutgoingResponse::new(fields);
    let body = response.body().expect("the body is taken once");
    ResponseOutparam::set(out, Ok(response));
    let _ = OutgoingBody::finish(body, None);
}

p2::misbehaves!(misbehave);
