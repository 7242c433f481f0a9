//! Reads beyond the end of its memory.

fn main() {
    raw::misbehaves(
        r#"
        (func $misbehave (param $request i32) (param $out i32)
          (drop (i64.load (i32.const -8))))
        "#,
    );
}
