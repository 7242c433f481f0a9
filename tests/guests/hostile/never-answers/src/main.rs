//! Waits 10 ms at a time without end and never answers.

fn main() {
    raw::misbehaves(
        r#"
        (func $misbehave (param $request i32) (param $out i32)
          (loop $again (call $wait (i64.const 10_000_000)) (br $again)))
        "#,
    );
}
