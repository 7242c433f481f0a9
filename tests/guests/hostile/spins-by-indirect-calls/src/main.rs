//! Calls functions through a table without end.

fn main() {
    raw::misbehaves(
        r#"
        (type $nothing (func))
        (table funcref (elem $even $odd))
        (func $even)
        (func $odd)
        (func $misbehave (param $request i32) (param $out i32)
          (local $turn i32)
          (loop $again
            (call_indirect (type $nothing) (i32.and (local.get $turn) (i32.const 1)))
            (local.set $turn (i32.add (local.get $turn) (i32.const 1)))
            (br $again)))
        "#,
    );
}
