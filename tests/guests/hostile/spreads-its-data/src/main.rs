//! Has a byte of data in each 4 KiB of 64 MiB.

fn main() {
    let data: String = (32..16_384)
        .map(|page| format!("(data (i32.const {}) \"x\")", page * 4096))
        .collect();
    let harmless = raw::Guest::default().code;
    let guest = raw::Guest {
        memory: "1024",
        code: &format!("{data} {harmless}"),
        ..raw::Guest::default()
    };
    guest.write();
}
