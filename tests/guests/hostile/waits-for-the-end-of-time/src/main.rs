//! Waits for the last nanosecond that the clock can show.

fn main() {
    raw::misbehaves(
        r#"
        (func $misbehave (param $request i32) (param $out i32)
          (call $block (call $at (i64.const -1))))
        "#,
    );
}
