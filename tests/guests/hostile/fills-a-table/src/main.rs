//! Fills a table of 60,000 elements over and over with table.fill.

fn main() {
    raw::misbehaves(
        r#"
        (table $table 60000 funcref)
        (elem declare func $something)
        (func $something)
        (func $misbehave (param $request i32) (param $out i32)
          (loop $again
            (table.fill $table (i32.const 0) (ref.func $something) (i32.const 60000))
            (table.fill $table (i32.const 0) (ref.null func) (i32.const 60000))
            (br $again)))
        "#,
    );
}
