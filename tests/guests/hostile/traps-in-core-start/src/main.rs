//! Traps in the start function of its core module, so it never gets a request.

fn main() {
    raw::misbehaves(
        r#"
        (start $trap)
        (func $trap unreachable)
        (func $misbehave (param $request i32) (param $out i32)
        )
        "#,
    );
}
