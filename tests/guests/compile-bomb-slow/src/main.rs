//! Writes `compile-bomb-slow` to stdout: minutes of CPU time in little memory, so that a limit
//! of time is met before one of memory.

use std::io::{self, Write};

use bomb::Weight;

fn main() {
    let component = bomb::component(&Weight {
        functions: 64,
        locals: 250,
        loops: 250,
    });
    io::stdout()
        .write_all(&component)
        .expect("stdout takes the component");
}
