//! Traps once the head is given to the host.

fn main() {
    raw::misbehaves(
        r#"
        (func $misbehave (param $request i32) (param $out i32)
          (call $head (local.get $out))
          unreachable)
        "#,
    );
}
