//! Answers, and traps 100 ms after the response is complete.

fn main() {
    raw::misbehaves(
        r#"
        (func $misbehave (param $request i32) (param $out i32)
          (call $answer (local.get $out) (i32.const 1024) (i32.const 3))
          (call $wait (i64.const 100_000_000))
          unreachable)
        "#,
    );
}
