//! Wants two thousand functions that no host has.

fn main() {
    let imports: String = (0..2000)
        .map(|n| format!("(import \"i{n}\" (func))"))
        .collect();
    let guest = raw::Guest {
        beside: &imports,
        ..raw::Guest::default()
    };
    guest.write();
}
