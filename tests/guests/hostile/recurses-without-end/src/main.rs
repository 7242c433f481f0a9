//! Calls itself without end.

fn main() {
    raw::misbehaves(
        r#"
        (func $down (param $depth i32) (result i32)
          (i32.add (local.get $depth)
            (call $down (i32.add (local.get $depth) (i32.const 1)))))
        (func $misbehave (param $request i32) (param $out i32)
          (drop (call $down (i32.const 1))))
        "#,
    );
}
