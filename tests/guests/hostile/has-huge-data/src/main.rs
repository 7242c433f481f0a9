//! Has a data segment of 4 MiB.

fn main() {
    let segment = "x".repeat(4 << 20);
    let harmless = raw::Guest::default().code;
    let guest = raw::Guest {
        memory: "80",
        code: &format!("(data (i32.const 0x20000) \"{segment}\") {harmless}"),
        ..raw::Guest::default()
    };
    guest.write();
}
