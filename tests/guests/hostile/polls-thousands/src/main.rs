//! Polls 1,800 pollables over and over, of which one is ready.

fn main() {
    raw::misbehaves(
        r#"
        (func $misbehave (param $request i32) (param $out i32)
          (local $at i32)
          (local.set $at (i32.const 32768))
          (loop $again
            (i32.store (local.get $at) (call $in (i64.const 3_600_000_000_000)))
            (local.set $at (i32.add (local.get $at) (i32.const 4)))
            (br_if $again (i32.lt_u (local.get $at) (i32.const 39968))))
          (i32.store (local.get $at) (call $in (i64.const 0)))
          (loop $again
            (call $poll (i32.const 32768) (i32.const 1801) (i32.const 0))
            (br $again)))
        "#,
    );
}
