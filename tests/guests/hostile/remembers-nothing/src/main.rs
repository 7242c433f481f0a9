//! Looks for what another instance left behind. `/write` leaves a mark in as much memory as it
//! gets, in a table, in globals and, by values that live across calls, on the stack that the
//! host gives it. Any other path looks for it in a memory that has grown as much, in the table
//! and in the globals. A guest cannot read the stack, and what it has on it is always written
//! first, so that part only makes what a mistake of the host's would leak.

const GLOBALS: usize = 64;
const KEPT: usize = 32;

fn main() {
    let globals = |text: &dyn Fn(usize) -> String| (0..GLOBALS).map(text).collect::<String>();
    let declare = globals(&|n| format!("(global $g{n} (mut i64) (i64.const 0))"));
    let set = globals(&|n| format!("(global.set $g{n} (call $mark))"));
    let count = globals(&|n| format!("(call $found (global.get $g{n}))"));
    let kept = "i64 ".repeat(KEPT);
    let keep: String = (1..=KEPT)
        .map(|n| format!("(local.set {n} (call $mark))"))
        .collect();
    let sum: String = (1..=KEPT)
        .map(|n| format!("local.get {n} i64.xor "))
        .collect();
    raw::misbehaves(&format!(
        r#"
        {declare}
        (table $table 60000 funcref)
        (elem declare func $mark)
        (global $count (mut i64) (i64.const 0))
        ;; Two halves, so that the mark is nowhere in the code.
        (func $mark (result i64)
          (i64.mul (i64.const 0x5a5a5a5a) (i64.const 0x100000001)))
        (func $found (param $value i64)
          (if (i64.eq (local.get $value) (call $mark))
            (then (global.set $count (i64.add (global.get $count) (i64.const 1))))))
        (func $say-count
          (call $say-number (global.get $count))
          (global.set $count (i64.const 0)))
        (func $grow
          (loop $again (br_if $again (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))))
        (func $down (param $depth i32) (result i64) (local {kept})
          {keep}
          (if (result i64) (local.get $depth)
            (then (call $down (i32.sub (local.get $depth) (i32.const 1))))
            (else (i64.const 0)))
          {sum})
        (func $write-mark
          {set}
          (table.fill $table (i32.const 0) (ref.func $mark) (i32.const 60000))
          (memory.fill (i32.const 8192) (i32.const 0x5a)
            (i32.sub (i32.shl (memory.size) (i32.const 16)) (i32.const 8192)))
          (call $say-number (call $down (i32.const 500))))
        (func $read-mark (local $at i32)
          (local.set $at (i32.const 8192))
          (loop $again
            (call $found (i64.load (local.get $at)))
            (local.set $at (i32.add (local.get $at) (i32.const 8)))
            (br_if $again (i32.lt_u (local.get $at) (i32.shl (memory.size) (i32.const 16)))))
          (call $say-count)
          (local.set $at (i32.const 0))
          (loop $again
            (if (i32.eqz (ref.is_null (table.get $table (local.get $at))))
              (then (call $found (call $mark))))
            (local.set $at (i32.add (local.get $at) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $at) (i32.const 60000))))
          (call $say-count)
          {count}
          (call $say-count))
        (func $misbehave (param $request i32) (param $out i32)
          ;; The path is where cabi_realloc put it; what counts is the letter after the slash.
          (if (i32.eq (i32.load8_u (i32.const 65537)) (i32.const 0x77))
            (then (call $grow) (call $write-mark))
            (else (call $grow) (call $read-mark)))
          (call $answer-said (local.get $out)))
        "#
    ));
}
