//! Has a memory of 1 GiB from the start.

fn main() {
    let guest = raw::Guest {
        memory: "16384",
        ..raw::Guest::default()
    };
    guest.write();
}
