//! Reads the request body, and goes on reading when it has ended.

fn main() {
    raw::misbehaves(
        r#"
        (func $misbehave (param $request i32) (param $out i32)
          (local $stream i32)
          (local.set $stream (call $request-body (local.get $request)))
          (loop $again
            (call $read (local.get $stream) (i64.const 65536) (i32.const 0))
            (br $again)))
        "#,
    );
}
