//! Never leaves its initialisation: instantiating it does not come back, so no request is
//! ever handled.

use std::hint::black_box;

use wasip2::http::types::{IncomingRequest, ResponseOutparam};

/// A constructor, as C++ has them for its statics: the linker has the component's start call
/// whatever this section points to.
#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = spin;

extern "C" fn spin() {
    let mut turns: u64 = 0;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

struct SpinsInStart;

impl wasip2::exports::http::incoming_handler::Guest for SpinsInStart {
    fn handle(_request: IncomingRequest, out: ResponseOutparam) {
        p2::answer(out, 200, "the start has ended, which it never should\n");
    }
}

wasip2::http::proxy::export!(SpinsInStart);
