//! Nests a hundred components in one another.

fn main() {
    let mut nested = raw::EMPTY.to_vec();
    for _ in 0..100 {
        nested = [raw::EMPTY.to_vec(), raw::section(4, &nested)].concat();
    }
    let harmless = raw::Guest::default().component();
    raw::write(&[harmless, raw::section(4, &nested)].concat());
}
