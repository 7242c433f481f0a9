//! Copies a data segment of 256 KiB into its memory over and over.

fn main() {
    let segment = "x".repeat(0x40000);
    raw::misbehaves(&format!(
        r#"
        (data $segment "{segment}")
        (func $misbehave (param $request i32) (param $out i32)
          (drop (memory.grow (i32.const 4)))
          (loop $again
            (memory.init $segment (i32.const 0x20000) (i32.const 0) (i32.const 0x40000))
            (br $again)))
        "#
    ));
}
