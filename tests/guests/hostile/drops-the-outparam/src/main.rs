//! Drops what it should answer with, and returns.

fn main() {
    raw::misbehaves(
        r#"
        (func $misbehave (param $request i32) (param $out i32)
          (call $drop-out (local.get $out)))
        "#,
    );
}
