//! Has a function with fifty thousand blocks in one another.

fn main() {
    const DEPTH: usize = 50_000;
    let blocks = "block local.get 0 br_if 0 ".repeat(DEPTH);
    let ends = "end ".repeat(DEPTH);
    let harmless = raw::Guest::default().code;
    raw::misbehaves(&format!("(func (param i32) {blocks} {ends}) {harmless}"));
}
