//! Divides numbers, whole and floating, and takes square roots without end.

fn main() {
    raw::misbehaves(
        r#"
        (func $misbehave (param $request i32) (param $out i32)
          (local $whole i64) (local $real f64)
          (local.set $real (f64.const 2))
          (loop $again
            (local.set $real (f64.sqrt (f64.div (f64.const 1e300) (local.get $real))))
            (local.set $whole (i64.add (i64.const 1)
              (i64.div_u (i64.const -1) (i64.add (local.get $whole) (i64.const 3)))))
            (br $again)))
        "#,
    );
}
