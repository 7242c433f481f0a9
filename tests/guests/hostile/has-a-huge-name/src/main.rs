//! Has an export with a very long name.

fn main() {
    let name = "n".repeat(90_000);
    let guest = raw::Guest {
        beside: &format!("(core module $Empty) (export \"{name}\" (core module $Empty))"),
        ..raw::Guest::default()
    };
    guest.write();
}
