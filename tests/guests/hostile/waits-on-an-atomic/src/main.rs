//! Blocks its thread in `memory.atomic.wait32`, which no epoch interrupts.

fn main() {
    raw::misbehaves(
        r#"
        (memory $shared 1 1 shared)
        (func $misbehave (param $request i32) (param $out i32)
          (drop (memory.atomic.wait32 $shared (i32.const 0) (i32.const 0) (i64.const -1))))
        "#,
    );
}
