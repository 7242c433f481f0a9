//! Sends one byte each half second without end.

fn main() {
    raw::misbehaves(
        r#"
        (func $misbehave (param $request i32) (param $out i32)
          (call $head (local.get $out))
          (loop $again
            (call $wait (i64.const 500_000_000))
            (br_if $again (i32.eqz (call $send (i32.const 1024) (i32.const 1))))))
        "#,
    );
}
