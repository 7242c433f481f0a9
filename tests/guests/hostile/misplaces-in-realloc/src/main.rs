//! Gives the host an address beyond its memory, unless asked for 3 bytes: the path `/ok`.

fn main() {
    let guest = raw::Guest {
        realloc: r#"(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
            (select (i32.const 65536) (i32.const -65536) (i32.eq (local.get 3) (i32.const 3))))"#,
        ..raw::Guest::default()
    };
    guest.write();
}
