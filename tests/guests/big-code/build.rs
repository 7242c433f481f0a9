//! Writes the functions of the guest: each different from every other, so that none is merged
//! or folded away, and each small, so that their number is what makes the code big.

use std::fmt::Write as _;
use std::{env, fs, path::PathBuf};

const FUNCTIONS: usize = 3_000;
const STEPS: usize = 28;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let mut random = Random(0x1234_5678_9abc_def1);
    let mut code = String::new();
    for number in 0..FUNCTIONS {
        let _ = writeln!(code, "fn f{number}(mut x: u64, t: &[u64; 64]) -> u64 {{");
        for _ in 0..STEPS {
            let (a, b) = (random.next() | 1, random.next());
            let _ = match b % 4 {
                0 => writeln!(
                    code,
                    "x = x.wrapping_mul({a}) ^ t[(x >> {}) as usize % 64];",
                    b % 50
                ),
                1 => writeln!(
                    code,
                    "if x & {a} > {b} {{ x = x.rotate_left({}) }}",
                    b % 61 + 1
                ),
                2 => writeln!(
                    code,
                    "x = x.wrapping_add({a} ^ t[(x ^ {b}) as usize % 64]);"
                ),
                _ => writeln!(
                    code,
                    "if t[{}] > x {{ x ^= {a} }} else {{ x += x >> {} }}",
                    b % 64,
                    b % 30 + 2
                ),
            };
        }
        code.push_str("x\n}\n");
    }
    let _ = writeln!(
        code,
        "static FUNCTIONS: [fn(u64, &[u64; 64]) -> u64; {FUNCTIONS}] = ["
    );
    for number in 0..FUNCTIONS {
        let _ = writeln!(code, "f{number},");
    }
    code.push_str("];\n");
    let folder = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    fs::write(folder.join("functions.rs"), code).expect("OUT_DIR can be written");
}

/// Xorshift (Marsaglia, 2003): the same numbers in every build.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
