//! Sends a hundred thousand bytes one by one.

fn main() {
    raw::misbehaves(
        r#"
        (func $misbehave (param $request i32) (param $out i32)
          (local $bytes i32)
          (call $head (local.get $out))
          (loop $again
            (drop (call $send (i32.const 1024) (i32.const 1)))
            (local.set $bytes (i32.add (local.get $bytes) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $bytes) (i32.const 100000))))
          (call $end))
        "#,
    );
}
