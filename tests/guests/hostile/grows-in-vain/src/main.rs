//! Asks over and over for 4 GiB of memory, which is refused each time.

fn main() {
    raw::misbehaves(
        r#"
        (func $misbehave (param $request i32) (param $out i32)
          (loop $again (drop (memory.grow (i32.const 65534))) (br $again)))
        "#,
    );
}
