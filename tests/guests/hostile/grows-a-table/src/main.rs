//! Grows a table by a thousand elements at a time until it is refused, and answers how many there are.

fn main() {
    raw::misbehaves(
        r#"
        (table $table 0 funcref)
        (elem declare func $something)
        (func $something)
        (func $misbehave (param $request i32) (param $out i32)
          (loop $again (br_if $again
            (i32.ne (table.grow $table (ref.func $something) (i32.const 1000)) (i32.const -1))))
          (call $say-number (i64.extend_i32_u (table.size $table)))
          (call $answer-said (local.get $out)))
        "#,
    );
}
