//! Makes outgoing requests over and over, whatever becomes of them.

use p2::Target;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{Fields, IncomingRequest, OutgoingRequest, ResponseOutparam};

fn misbehave(_target: &Target, _request: IncomingRequest, _out: ResponseOutparam) {
    loop {
        let request = OutgoingRequest::new(Fields::new());
        let _ = request.set_authority(Some("neighbour.test"));
        let _ = outgoing_handler::handle(request, None);
    }
}

p2::misbehaves!(misbehave);
