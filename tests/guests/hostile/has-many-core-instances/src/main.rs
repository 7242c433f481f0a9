//! Makes 40 core instances besides its own.

fn main() {
    let instances = "(core instance (instantiate $Empty))".repeat(40);
    let guest = raw::Guest {
        beside: &format!("(core module $Empty) {instances}"),
        ..raw::Guest::default()
    };
    guest.write();
}
