//! Makes fields and pollables over and over and drops each at once.

fn main() {
    raw::misbehaves(
        r#"
        (func $misbehave (param $request i32) (param $out i32)
          (loop $again
            (call $drop-fields (call $fields))
            (call $drop-pollable (call $in (i64.const 0)))
            (br $again)))
        "#,
    );
}
