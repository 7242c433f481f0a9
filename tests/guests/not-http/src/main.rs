//! A program that prints a line: a component of `wasi:cli/command`, which no request can reach.

fn main() {
    println!("Hello from a program.");
}
