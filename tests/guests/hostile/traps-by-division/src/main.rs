//! Divides by zero.

fn main() {
    raw::misbehaves(
        r#"
        (func $misbehave (param $request i32) (param $out i32)
          (drop (i32.div_u (local.get $out) (i32.const 0))))
        "#,
    );
}
