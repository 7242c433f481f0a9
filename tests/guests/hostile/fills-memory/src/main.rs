//! Fills nearly 60 MiB over and over with memory.fill.

fn main() {
    raw::misbehaves(
        r#"
        (func $misbehave (param $request i32) (param $out i32)
          (drop (memory.grow (i32.const 950)))
          (loop $again
            (memory.fill (i32.const 0) (i32.const 0xff) (i32.shl (memory.size) (i32.const 16)))
            (br $again)))
        "#,
    );
}
