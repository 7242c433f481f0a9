//! Grows by one page at a time until it is refused, touches every page and answers how many there are.

fn main() {
    raw::misbehaves(
        r#"
        (func $misbehave (param $request i32) (param $out i32)
          (local $at i32)
          (loop $again (br_if $again (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
          (local.set $at (i32.shl (i32.sub (memory.size) (i32.const 1)) (i32.const 16)))
          (loop $again
            (i32.store (local.get $at) (i32.const 1))
            (local.set $at (i32.sub (local.get $at) (i32.const 4096)))
            (br_if $again (i32.gt_s (local.get $at) (i32.const 8192))))
          (call $say-number (i64.extend_i32_u (memory.size)))
          (call $answer-said (local.get $out)))
        "#,
    );
}
