//! Has a table of a million elements from the start.

fn main() {
    raw::misbehaves(
        r#"
        (table 1000000 funcref)
        (func $misbehave (param $request i32) (param $out i32)
          (call $answer (local.get $out) (i32.const 1024) (i32.const 3)))
        "#,
    );
}
