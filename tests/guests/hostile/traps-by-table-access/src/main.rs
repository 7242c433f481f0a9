//! Reads beyond the end of a table.

fn main() {
    raw::misbehaves(
        r#"
        (table 7 funcref)
        (func $misbehave (param $request i32) (param $out i32)
          (drop (table.get (i32.const 7))))
        "#,
    );
}
