//! Takes the request body, never reads from it and never answers.

fn main() {
    raw::misbehaves(
        r#"
        (func $misbehave (param $request i32) (param $out i32)
          (drop (call $request-body (local.get $request)))
          (loop $again (call $wait (i64.const 3_600_000_000_000)) (br $again)))
        "#,
    );
}
