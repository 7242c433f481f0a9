//! The program in `shared/plain`, for one of the two targets that it is built for.

fn main() {
    plain::main();
}
