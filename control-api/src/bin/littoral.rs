//! Littoral's command line; everything it does is in the library's `cli` room.

fn main() -> std::process::ExitCode {
    control_api::cli::main()
}
