//! Copies nearly 60 MiB over and over onto the byte beside it with memory.copy.

fn main() {
    raw::misbehaves(
        r#"
        (func $misbehave (param $request i32) (param $out i32)
          (drop (memory.grow (i32.const 950)))
          (loop $again
            (memory.copy (i32.const 1) (i32.const 0)
              (i32.sub (i32.shl (memory.size) (i32.const 16)) (i32.const 1)))
            (br $again)))
        "#,
    );
}
