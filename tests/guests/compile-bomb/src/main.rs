//! Writes `compile-bomb` to stdout. Measured with wasmtime 48.0.8 (see README.md): 1 GiB after
//! some 8 s of CPU time, 1.5 GiB after some 10 s, and then minutes at that size.

use std::io::{self, Write};

use bomb::Weight;

fn main() {
    let component = bomb::component(&Weight {
        functions: 1,
        locals: 1000,
        loops: 1000,
    });
    io::stdout()
        .write_all(&component)
        .expect("stdout takes the component");
}
