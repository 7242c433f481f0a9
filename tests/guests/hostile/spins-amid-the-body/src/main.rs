//! Computes without end once the head and 4 KiB of the body are sent.

fn main() {
    raw::misbehaves(
        r#"
        (func $misbehave (param $request i32) (param $out i32)
          (call $head (local.get $out))
          (drop (call $send-chunk))
          (loop $again (br $again)))
        "#,
    );
}
