//! Allocates as much memory as the query says and touches every page of it.

use std::hint::black_box;

use wasip2::http::types::{IncomingRequest, ResponseOutparam};

const MIB_BYTES: usize = 1024 * 1024;
/// Linux's: a host maps the memory of guests in pages of its own, at least this large.
const PAGE_BYTES: usize = 4096;

struct GrowsMemory;

impl wasip2::exports::http::incoming_handler::Guest for GrowsMemory {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let target = p2::target(&request);
        let mib = target.number("mib", 1);
        let held = hold(mib);
        p2::wait_ms(target.number("hold_ms", 0));
        let held_mib = black_box(&held).len() as u64;
        // The answer needs a little memory itself.
        drop(held);
        if held_mib == mib {
            p2::answer(out, 200, &format!("allocated {mib} MiB\n"));
        } else {
            p2::answer(out, 507, &format!("refused after {held_mib} MiB\n"));
        }
    }
}

/// Blocks of 1 MiB, `mib` of them or as many as there was memory for.
fn hold(mib: u64) -> Vec<Vec<u8>> {
    let mut blocks = Vec::new();
    for _ in 0..mib {
        let mut block = Vec::new();
        if blocks.try_reserve(1).is_err() || block.try_reserve_exact(MIB_BYTES).is_err() {
            break;
        }
        block.resize(MIB_BYTES, 0);
        for page in block.chunks_mut(PAGE_BYTES) {
            page[0] = black_box(1);
        }
        blocks.push(block);
    }
    blocks
}

wasip2::http::proxy::export!(GrowsMemory);
