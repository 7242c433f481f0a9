//! Has a hundred thousand functions.

fn main() {
    let functions = "(func)".repeat(100_000);
    let harmless = raw::Guest::default().code;
    raw::misbehaves(&format!("{functions} {harmless}"));
}
