//! Makes fields until it is refused.

fn main() {
    raw::misbehaves(
        r#"
        (func $misbehave (param $request i32) (param $out i32)
          (loop $again (drop (call $fields)) (br $again)))
        "#,
    );
}
