//! Asks for the monotonic clock over and over: cheap host calls.

fn main() {
    raw::misbehaves(
        r#"
        (func $misbehave (param $request i32) (param $out i32)
          (loop $again (drop (call $now)) (br $again)))
        "#,
    );
}
