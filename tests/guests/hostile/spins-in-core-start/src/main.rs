//! Never leaves the start function of its core module, so it never gets a request.

fn main() {
    raw::misbehaves(
        r#"
        (start $forever)
        (func $forever (loop $again (br $again)))
        (func $misbehave (param $request i32) (param $out i32)
        )
        "#,
    );
}
