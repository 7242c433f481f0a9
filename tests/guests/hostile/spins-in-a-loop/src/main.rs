//! Turns round in an empty loop.

fn main() {
    raw::misbehaves(
        r#"
        (func $misbehave (param $request i32) (param $out i32)
          (loop $again (br $again)))
        "#,
    );
}
