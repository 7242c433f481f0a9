//! Has 32 tables.

fn main() {
    let tables = "(table 10000 funcref)".repeat(32);
    let harmless = raw::Guest::default().code;
    raw::misbehaves(&format!("{tables} {harmless}"));
}
