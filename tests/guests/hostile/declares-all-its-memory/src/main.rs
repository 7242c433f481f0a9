//! Has a memory of 64 MiB from the start.

fn main() {
    let guest = raw::Guest {
        memory: "1024",
        ..raw::Guest::default()
    };
    guest.write();
}
