//! Waits for a nanosecond, again and again.

fn main() {
    raw::misbehaves(
        r#"
        (func $misbehave (param $request i32) (param $out i32)
          (loop $again (call $wait (i64.const 1)) (br $again)))
        "#,
    );
}
