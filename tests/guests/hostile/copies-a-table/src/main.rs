//! Copies a table of 60,000 elements over and over onto the element beside it with table.copy.

fn main() {
    raw::misbehaves(
        r#"
        (table $table 60000 funcref)
        (elem declare func $something)
        (func $something)
        (func $misbehave (param $request i32) (param $out i32)
          (table.fill $table (i32.const 0) (ref.func $something) (i32.const 60000))
          (loop $again
            (table.copy (i32.const 1) (i32.const 0) (i32.const 59999))
            (br $again)))
        "#,
    );
}
