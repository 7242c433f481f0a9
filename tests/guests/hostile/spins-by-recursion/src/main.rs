//! Calls functions in a tree of calls that is 90 deep and never done.

fn main() {
    raw::misbehaves(
        r#"
        (func $fibonacci (param $n i64) (result i64)
          (if (result i64) (i64.lt_u (local.get $n) (i64.const 2))
            (then (i64.const 1))
            (else (i64.add
              (call $fibonacci (i64.sub (local.get $n) (i64.const 1)))
              (call $fibonacci (i64.sub (local.get $n) (i64.const 2)))))))
        (func $misbehave (param $request i32) (param $out i32)
          (drop (call $fibonacci (i64.const 90))))
        "#,
    );
}
