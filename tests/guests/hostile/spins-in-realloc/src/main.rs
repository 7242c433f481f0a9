//! Computes without end in `cabi_realloc`, unless asked for 3 bytes: the path `/ok`.

fn main() {
    let guest = raw::Guest {
        realloc: r#"(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
            (loop $again (br_if $again (i32.ne (local.get 3) (i32.const 3))))
            (i32.const 65536))"#,
        ..raw::Guest::default()
    };
    guest.write();
}
