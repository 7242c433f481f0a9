//! Has two thousand exports besides its handler.

fn main() {
    let exports: String = (0..2000)
        .map(|n| format!("(export \"e{n}\" (type $Byte))"))
        .collect();
    let guest = raw::Guest {
        beside: &format!("(type $Byte u8) {exports}"),
        ..raw::Guest::default()
    };
    guest.write();
}
