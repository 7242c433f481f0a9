//! Sends the head and 4 KiB, and then nothing more and no end.

fn main() {
    raw::misbehaves(
        r#"
        (func $misbehave (param $request i32) (param $out i32)
          (call $head (local.get $out))
          (drop (call $send-chunk))
          (loop $again (call $wait (i64.const 3_600_000_000_000)) (br $again)))
        "#,
    );
}
