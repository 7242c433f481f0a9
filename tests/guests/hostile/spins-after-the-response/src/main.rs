//! Answers, and computes without end once the response is complete.

fn main() {
    raw::misbehaves(
        r#"
        (func $misbehave (param $request i32) (param $out i32)
          (call $answer (local.get $out) (i32.const 1024) (i32.const 3))
          (loop $again (br $again)))
        "#,
    );
}
