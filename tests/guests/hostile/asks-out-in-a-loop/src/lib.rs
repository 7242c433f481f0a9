//! Makes outgoing requests over and over, on /malformed such as have no path.

use p2::Target;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{Fields, IncomingRequest, OutgoingRequest, ResponseOutparam, Scheme};

fn misbehave(target: &Target, _request: IncomingRequest, _out: ResponseOutparam) {
    loop {
        let request = OutgoingRequest::new(Fields::new());
        let _ = request.set_scheme(Some(&Scheme::Http));
        let _ = request.set_authority(Some("neighbour.test"));
        if target.path() != "/malformed" {
            let _ = request.set_path_with_query(Some("/"));
        }
        let _ = outgoing_handler::handle(request, None);
    }
}

p2::misbehaves!(misbehave);
