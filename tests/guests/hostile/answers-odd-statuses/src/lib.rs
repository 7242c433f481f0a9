//! /?status=N answers with that status, 101 by default, or 200 refused when the host takes it for none.

use p2::Target;
use wasip2::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};

fn misbehave(target: &Target, _request: IncomingRequest, out: ResponseOutparam) {
    let status = target.number("status", 101) as u16;
    let response = OutgoingResponse::new(Fields::new());
    if response.set_status_code(status).is_err() {
        return p2::answer(out, 200, "refused\n");
    }
    let body = response.body().expect("the body is taken once");
    ResponseOutparam::set(out, Ok(response));
    let _ = OutgoingBody::finish(body, None);
}

p2::misbehaves!(misbehave);
