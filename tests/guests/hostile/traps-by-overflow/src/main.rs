//! Divides the least number by -1.

fn main() {
    raw::misbehaves(
        r#"
        (func $misbehave (param $request i32) (param $out i32)
          (drop (i64.div_s (i64.const 0x8000000000000000) (i64.const -1))))
        "#,
    );
}
