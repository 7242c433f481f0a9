//! Calls a function through a table as what it is not.

fn main() {
    raw::misbehaves(
        r#"
        (type $other (func (param i64)))
        (table funcref (elem $something))
        (func $something)
        (func $misbehave (param $request i32) (param $out i32)
          (call_indirect (type $other) (i64.const 0) (i32.const 0)))
        "#,
    );
}
