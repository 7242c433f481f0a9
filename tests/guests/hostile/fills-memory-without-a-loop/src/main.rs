//! A compiler has a host look at the clock where a loop begins and where a function is entered:
//! here is neither, only a thousand times `memory.fill`.

fn main() {
    let fill =
        "(memory.fill (i32.const 0) (i32.const 0xff) (i32.shl (memory.size) (i32.const 16)))";
    let fills = fill.repeat(1000);
    raw::misbehaves(&format!(
        "(func $misbehave (param $request i32) (param $out i32)
            (drop (memory.grow (i32.const 950)))
            {fills})"
    ));
}
