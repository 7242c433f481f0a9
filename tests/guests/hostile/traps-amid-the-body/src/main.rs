//! Traps 100 ms after the head and 4 KiB of the body.

fn main() {
    raw::misbehaves(
        r#"
        (func $misbehave (param $request i32) (param $out i32)
          (call $head (local.get $out))
          (drop (call $send-chunk))
          (call $wait (i64.const 100_000_000))
          unreachable)
        "#,
    );
}
