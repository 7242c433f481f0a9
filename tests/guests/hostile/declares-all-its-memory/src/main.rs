//! Has a memory of 64 MiB from the start, keeps it and never answers.

fn main() {
    let guest = raw::Guest {
        memory: "1024",
        code: r#"
        (func $misbehave (param $request i32) (param $out i32)
          (loop $again (call $wait (i64.const 10_000_000)) (br $again)))
        "#,
        ..raw::Guest::default()
    };
    guest.write();
}
