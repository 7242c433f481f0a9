//! Calls an element of a table that is null.

fn main() {
    raw::misbehaves(
        r#"
        (type $nothing (func))
        (table 1 funcref)
        (func $misbehave (param $request i32) (param $out i32)
          (call_indirect (type $nothing) (i32.const 0)))
        "#,
    );
}
