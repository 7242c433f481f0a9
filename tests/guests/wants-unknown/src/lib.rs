//! Imports an interface that no host has, so that no host can run it.

use wasip2::http::types::{IncomingRequest, ResponseOutparam};

mod bindings {
    wit_bindgen::generate!({ path: "wit", world: "wants-unknown" });
}

struct WantsUnknown;

impl wasip2::exports::http::incoming_handler::Guest for WantsUnknown {
    fn handle(_request: IncomingRequest, out: ResponseOutparam) {
        p2::answer(
            out,
            200,
            &bindings::acme::nothing::here::speak("anyone there?"),
        );
    }
}

wasip2::http::proxy::export!(WantsUnknown);
