//! 0.3: waits for an event of a set in which nothing is.

use wasip3::http::types::{ErrorCode, Request, Response};

async fn misbehave(_request: Request) -> Result<Response, ErrorCode> {
    let mut event = [0_u32; 2];
    // SAFETY: the canonical built-ins as the component model has them; the event has two words.
    unsafe { waitable_set_wait(waitable_set_new(), event.as_mut_ptr()) };
    Ok(p3::answer(200, "an event came, which it never should\n"))
}

#[link(wasm_import_module = "$root")]
unsafe extern "C" {
    #[link_name = "[waitable-set-new]"]
    fn waitable_set_new() -> u32;
    #[link_name = "[waitable-set-wait]"]
    fn waitable_set_wait(set: u32, event: *mut u32) -> u32;
}

p3::misbehaves!(misbehave);
