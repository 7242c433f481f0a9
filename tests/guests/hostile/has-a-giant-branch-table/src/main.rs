//! Has a `br_table` of half a million targets.

fn main() {
    let blocks = "block ".repeat(100);
    let ends = "end ".repeat(100);
    let targets: String = (0..500_000).map(|n| format!("{} ", n * 7 % 100)).collect();
    let harmless = raw::Guest::default().code;
    raw::misbehaves(&format!(
        "(func (param i32) {blocks} local.get 0 br_table {targets} {ends}) {harmless}"
    ));
}
