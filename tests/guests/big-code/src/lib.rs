//! Has some thousands of functions (see `build.rs`), so that it takes a while to compile.
//! `/?n=N` runs the N-th of them and answers what it gave.

use wasip2::http::types::{IncomingRequest, ResponseOutparam};

include!(concat!(env!("OUT_DIR"), "/functions.rs"));

static TABLE: [u64; 64] = [0x0123_4567_89ab_cdef; 64];

struct BigCode;

impl wasip2::exports::http::incoming_handler::Guest for BigCode {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let number = p2::target(&request).number("n", 0);
        match usize::try_from(number)
            .ok()
            .and_then(|number| FUNCTIONS.get(number))
        {
            Some(function) => {
                let given = function(number, &TABLE);
                p2::answer(
                    out,
                    200,
                    &format!("function {number} of {} gave {given}\n", FUNCTIONS.len()),
                );
            }
            None => p2::answer(
                out,
                404,
                &format!("there are {} functions\n", FUNCTIONS.len()),
            ),
        }
    }
}

wasip2::http::proxy::export!(BigCode);
