//! Has a function of a million instructions.

fn main() {
    let turn = "local.get 0 i64.const 7 i64.mul local.get 1 i64.xor local.set 0 ";
    let turns = turn.repeat(1_000_000 / 6);
    let harmless = raw::Guest::default().code;
    raw::misbehaves(&format!(
        "(func (param i64 i64) (result i64) {turns} local.get 0) {harmless}"
    ));
}
