//! Sends chunks of 4 KiB without end.

fn main() {
    raw::misbehaves(
        r#"
        (func $misbehave (param $request i32) (param $out i32)
          (call $head (local.get $out))
          (loop $again (br_if $again (i32.eqz (call $send-chunk)))))
        "#,
    );
}
