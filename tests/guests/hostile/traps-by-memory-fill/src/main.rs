//! Fills beyond the end of its memory.

fn main() {
    raw::misbehaves(
        r#"
        (func $misbehave (param $request i32) (param $out i32)
          (memory.fill (i32.const 65536) (i32.const 0) (i32.const -1)))
        "#,
    );
}
