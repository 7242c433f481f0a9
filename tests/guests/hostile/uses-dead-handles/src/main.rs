//! Drops a handle twice.

fn main() {
    raw::misbehaves(
        r#"
        (func $misbehave (param $request i32) (param $out i32)
          (local $fields i32)
          (call $drop-fields (local.tee $fields (call $fields)))
          (call $drop-fields (local.get $fields)))
        "#,
    );
}
