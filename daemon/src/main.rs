//! The daemon's binary: which kind of process this is.

use std::process::ExitCode;

fn main() -> ExitCode {
    match std::env::args_os().nth(1) {
        Some(kind) if kind == "compile" => littorald::artifact::compile::child_main(),
        _ => ExitCode::FAILURE,
    }
}
