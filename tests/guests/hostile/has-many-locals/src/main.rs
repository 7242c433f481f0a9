//! Has a function with 49,000 locals; 50,000 is the most that wasmtime reads.

fn main() {
    let locals = "i64 ".repeat(49_000);
    let turn: String = (1..49_001)
        .map(|n| format!("local.get {n} local.get 0 i64.add local.set {n} "))
        .collect();
    let sum: String = (1..49_001)
        .map(|n| format!("local.get {n} i64.add "))
        .collect();
    let harmless = raw::Guest::default().code;
    raw::misbehaves(&format!(
        "(func (param i64) (result i64) (local {locals})
           loop {turn} local.get 1 i32.wrap_i64 br_if 0 end
           i64.const 0 {sum})
         {harmless}"
    ));
}
