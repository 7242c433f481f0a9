//! Answers in full, and then again with the handle that is used up.

fn main() {
    raw::misbehaves(
        r#"
        (func $misbehave (param $request i32) (param $out i32)
          (call $answer (local.get $out) (i32.const 1024) (i32.const 3))
          (call $answer (local.get $out) (i32.const 1024) (i32.const 3)))
        "#,
    );
}
