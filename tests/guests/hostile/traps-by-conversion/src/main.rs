//! Makes a whole number of what is none.

fn main() {
    raw::misbehaves(
        r#"
        (func $misbehave (param $request i32) (param $out i32)
          (drop (i32.trunc_f64_s (f64.const nan))))
        "#,
    );
}
