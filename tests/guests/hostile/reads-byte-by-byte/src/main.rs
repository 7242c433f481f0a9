//! Reads the request body one byte at a time, 10 ms apart, and answers how many there were.

fn main() {
    raw::misbehaves(
        r#"
        (func $misbehave (param $request i32) (param $out i32)
          (local $stream i32) (local $bytes i64)
          (local.set $stream (call $request-body (local.get $request)))
          (loop $again
            (call $wait (i64.const 10_000_000))
            (call $read (local.get $stream) (i64.const 1) (i32.const 0))
            (if (i32.eqz (i32.load8_u (i32.const 0)))
              (then
                (local.set $bytes (i64.add (local.get $bytes) (i64.load32_u (i32.const 8))))
                (br $again))))
          (call $say-number (local.get $bytes))
          (call $answer-said (local.get $out)))
        "#,
    );
}
