//! Calls itself without end and the host at each depth, so also where the stack is all but used up.

fn main() {
    raw::misbehaves(
        r#"
        (func $down (result i64)
          (call $random (i64.const 1) (i32.const 0))
          (i64.add (call $now) (call $down)))
        (func $misbehave (param $request i32) (param $out i32)
          (drop (call $down)))
        "#,
    );
}
