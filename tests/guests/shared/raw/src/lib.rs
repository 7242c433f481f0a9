//! Writes components of `wasi:http/proxy` 0.2 around a piece of WebAssembly text, for what no
//! compiler would make: start functions, tables, second memories, a `cabi_realloc` or a
//! post-return of one's own, handles that are no longer valid.
//!
//! `component.wat` is the component; what a guest adds goes where it has a name in double braces.
//! It answers `/ok` by itself and hands every other request to the guest's `$misbehave`.

use std::io::{self, Write};

const TEMPLATE: &str = include_str!("component.wat");

/// What a guest is made of; see [`Guest::default`] for the harmless one.
pub struct Guest<'a> {
    /// Fields of the main core module. Defines `(func $misbehave (param $request i32) (param $out
    /// i32) ...)`, which may use everything that `component.wat` has there.
    pub code: &'a str,
    /// The limits of the one memory, in pages. At least 2: what lies there is in `component.wat`.
    pub memory: &'a str,
    /// Fields of the module that has the memory, among them the export `cabi_realloc`.
    pub realloc: &'a str,
    /// The body of the post-return, if there is to be one.
    pub post_return: &'a str,
    /// What the component has besides, before its main module.
    pub beside: &'a str,
}

impl Default for Guest<'_> {
    fn default() -> Self {
        Self {
            code: "(func $misbehave (param $request i32) (param $out i32)
                (call $answer (local.get $out) (i32.const 1024) (i32.const 3)))",
            memory: "2",
            realloc: r#"(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                (i32.const 65536))"#,
            post_return: "",
            beside: "",
        }
    }
}

impl Guest<'_> {
    /// The component, as bytes.
    pub fn component(&self) -> Vec<u8> {
        let lift_with = match self.post_return {
            "" => "",
            _ => r#"(post-return (core func $main "post-return"))"#,
        };
        let text = TEMPLATE
            .replace("{{code}}", self.code)
            .replace("{{memory}}", self.memory)
            .replace("{{realloc}}", self.realloc)
            .replace("{{post-return}}", self.post_return)
            .replace("{{lift with}}", lift_with)
            .replace("{{beside}}", self.beside);
        wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Writes the component to stdout.
    pub fn write(&self) {
        write(&self.component());
    }
}

/// Writes the guest that is harmless but for `code`.
pub fn misbehaves(code: &str) {
    let guest = Guest {
        code,
        ..Guest::default()
    };
    guest.write();
}

/// The component that has nothing in it: magic number, version and layer.
pub const EMPTY: [u8; 8] = *b"\0asm\x0d\0\x01\0";

/// A section, to be appended to a component: an id, the length as LEB128, the content.
pub fn section(id: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![id];
    let mut length = content.len();
    while length >= 0x80 {
        bytes.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend(content);
    bytes
}

/// Writes `component` to stdout.
pub fn write(component: &[u8]) {
    io::stdout()
        .write_all(component)
        .expect("stdout takes the component");
}
