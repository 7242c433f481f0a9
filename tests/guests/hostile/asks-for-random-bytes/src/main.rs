//! Asks for 64 KiB of random bytes over and over: host calls that hand over much.

fn main() {
    raw::misbehaves(
        r#"
        (func $misbehave (param $request i32) (param $out i32)
          (loop $again (call $random (i64.const 65536) (i32.const 0)) (br $again)))
        "#,
    );
}
