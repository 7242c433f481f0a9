//! Traps in its post-return, unless asked for `/ok`.

fn main() {
    let guest = raw::Guest {
        code: "(global $misbehaved (mut i32) (i32.const 0))
            (func $misbehave (param $request i32) (param $out i32)
              (call $answer (local.get $out) (i32.const 1024) (i32.const 3))
              (global.set $misbehaved (i32.const 1)))",
        post_return: "(if (global.get $misbehaved) (then unreachable))",
        ..raw::Guest::default()
    };
    guest.write();
}
