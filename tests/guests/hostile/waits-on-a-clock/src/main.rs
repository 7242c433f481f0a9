//! Waits for an hour, again and again.

fn main() {
    raw::misbehaves(
        r#"
        (func $misbehave (param $request i32) (param $out i32)
          (loop $again (call $wait (i64.const 3_600_000_000_000)) (br $again)))
        "#,
    );
}
