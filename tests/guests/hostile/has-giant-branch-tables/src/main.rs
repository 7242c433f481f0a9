//! Has a function with ten `br_table` of 60,000 targets each; wasmtime compiles none of more
//! than 65,520.

fn main() {
    let blocks = "block ".repeat(100);
    let ends = "end ".repeat(100);
    let targets: String = (0..60_000).map(|n| format!("{} ", n * 7 % 100)).collect();
    let tables = format!("{blocks} local.get 0 br_table {targets} {ends} ").repeat(10);
    let harmless = raw::Guest::default().code;
    raw::misbehaves(&format!("(func (param i32) {tables}) {harmless}"));
}
