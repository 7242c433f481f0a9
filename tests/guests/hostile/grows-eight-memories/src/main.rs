//! Has eight memories and grows each until it is refused.

fn main() {
    let memories: String = (1..8).map(|n| format!("(memory $m{n} 1)")).collect();
    let grow: String = (1..8)
        .map(|n| {
            format!(
                "(loop $again
                   (br_if $again (i32.ne (memory.grow $m{n} (i32.const 1)) (i32.const -1))))
                 (memory.fill $m{n} (i32.const 0) (i32.const 1)
                   (i32.shl (memory.size $m{n}) (i32.const 16)))
                 (local.set $pages (i32.add (local.get $pages) (memory.size $m{n})))"
            )
        })
        .collect();
    raw::misbehaves(&format!(
        "{memories}
        (func $misbehave (param $request i32) (param $out i32) (local $pages i32)
          (local.set $pages (memory.size))
          {grow}
          (call $say-number (i64.extend_i32_u (local.get $pages)))
          (call $answer-said (local.get $out)))"
    ));
}
