//! Gives the host a list that ends beyond its memory.

fn main() {
    raw::misbehaves(
        r#"
        (func $misbehave (param $request i32) (param $out i32)
          (call $head (local.get $out))
          (drop (call $send (i32.const 0xffff0000) (i32.const 4096))))
        "#,
    );
}
