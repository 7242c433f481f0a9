//! A program that prints a line, as a core module of WASI preview 1.

fn main() {
    println!("Hello from a core module.");
}
