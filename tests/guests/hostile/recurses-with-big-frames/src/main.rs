//! Calls itself without end, with two thousand values to keep at each depth.

fn main() {
    let locals = "i64 ".repeat(2000);
    let load: String = (0..2000)
        .map(|n| format!("(local.set {n} (i64.load (i32.const {})))", n * 8))
        .collect();
    let sum: String = (0..2000)
        .map(|n| format!("local.get {n} i64.add "))
        .collect();
    raw::misbehaves(&format!(
        "(func $down (result i64) (local {locals}) {load} call $down {sum})
         (func $misbehave (param $request i32) (param $out i32) (drop (call $down)))"
    ));
}
