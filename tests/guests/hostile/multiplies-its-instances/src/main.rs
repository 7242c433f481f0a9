//! A component that instantiates ten times a component that instantiates ten times, eight deep,
//! one core module.

fn main() {
    let mut component =
        "(component $C (core module $Empty) (core instance (instantiate $Empty)))".to_owned();
    for _ in 0..8 {
        let ten = "(instance (instantiate $C))".repeat(10);
        component = format!("(component $C {component} {ten})");
    }
    let guest = raw::Guest {
        beside: &format!("{component} (instance (instantiate $C))"),
        ..raw::Guest::default()
    };
    guest.write();
}
