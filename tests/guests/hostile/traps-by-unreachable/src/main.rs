//! Reaches what cannot be reached.

fn main() {
    raw::misbehaves(
        r#"
        (func $misbehave (param $request i32) (param $out i32)
          unreachable)
        "#,
    );
}
