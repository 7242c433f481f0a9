//! Writes a body without end to a response that it never sends.

fn main() {
    raw::misbehaves(
        r#"
        (func $misbehave (param $request i32) (param $out i32)
          (drop (call $prepare))
          (loop $again (drop (call $send-chunk)) (br $again)))
        "#,
    );
}
