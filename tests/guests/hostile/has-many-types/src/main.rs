//! Has fifty thousand function types, no two alike.

fn main() {
    let kind = ["i32", "i64", "f32", "f64"];
    // The number of the type in base 4: eight digits are 65,536.
    let types: String = (0..50_000_usize)
        .map(|n| {
            let digits: Vec<_> = (0..8).map(|at| kind[n >> (2 * at) & 3]).collect();
            format!("(type (func (param {})))", digits.join(" "))
        })
        .collect();
    let harmless = raw::Guest::default().code;
    raw::misbehaves(&format!("{types} {harmless}"));
}
