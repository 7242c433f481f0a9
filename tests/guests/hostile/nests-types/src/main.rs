//! Nests half a million component types in one another.

fn main() {
    const DEPTH: usize = 500_000;
    // A type section of one type: a component (0x41) of one declaration, which is a type (0x01)...
    let mut types = vec![0x01];
    types.extend([0x41, 0x01, 0x01].repeat(DEPTH));
    // ...and the innermost is the type u8.
    types.push(0x7d);
    let harmless = raw::Guest::default().component();
    raw::write(&[harmless, raw::section(7, &types)].concat());
}
