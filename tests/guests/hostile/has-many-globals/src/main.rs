//! Has a hundred thousand globals, each 16 bytes of what a host keeps for an instance.

fn main() {
    let globals = "(global (mut i64) (i64.const 1))".repeat(100_000);
    let harmless = raw::Guest::default().code;
    raw::misbehaves(&format!("{globals} {harmless}"));
}
