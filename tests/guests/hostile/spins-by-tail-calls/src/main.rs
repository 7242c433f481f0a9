//! Has two functions that tail-call each other without end.

fn main() {
    raw::misbehaves(
        r#"
        (func $ping (return_call $pong))
        (func $pong (return_call $ping))
        (func $misbehave (param $request i32) (param $out i32)
          (call $ping))
        "#,
    );
}
