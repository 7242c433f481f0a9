//! Has nine memories.

fn main() {
    let memories = "(memory 1)".repeat(8);
    let harmless = raw::Guest::default().code;
    raw::misbehaves(&format!("{memories} {harmless}"));
}
