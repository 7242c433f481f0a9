//! Sends the head and 4 KiB, and returns without an end of the body.

fn main() {
    raw::misbehaves(
        r#"
        (func $misbehave (param $request i32) (param $out i32)
          (call $head (local.get $out))
          (drop (call $send-chunk)))
        "#,
    );
}
