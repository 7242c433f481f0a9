//! A plain program without any SDK: environment and standard input in, a head and a body out.

use std::io::{Read, Write};

/// Answers one request.
pub fn main() {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let query = variable("QUERY_STRING");
    let number = |name: &str| {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.into_iter().find(|(key, _)| *key == name).and_then(|(_, value)| value.parse::<u64>().ok())
    };
    let mut out = std::io::stdout().lock();
    if query == "plain" {
        println_or_end(&mut out, "Hello, without a head.");
        return;
    }
    if query == "silent" {
        return;
    }
    if query == "bad" {
        println_or_end(&mut out, "Content-Type: text/plain\nnot a field\n\nbody");
        return;
    }
    if query == "moved" {
        println_or_end(&mut out, "Location: /elsewhere\n");
        return;
    }
    if let Some(code) = number("exit") {
        std::process::exit(i32::try_from(code).unwrap_or(1));
    }
    let _ = write!(out, "Status: {} Made here\r\n", number("status").unwrap_or(200));
    let _ = write!(out, "Content-Type: text/plain\r\nX-Made-By: cgi\r\n\r\n");
    if let Some(bytes) = number("flood") {
        let piece = [b'x'; 4096];
        let mut left = bytes;
        while left > 0 {
            let part = left.min(4096);
            if out.write_all(&piece[..usize::try_from(part).unwrap_or(0)]).is_err() {
                return;
            }
            left -= part;
        }
        return;
    }
    if query == "echo" {
        let mut buffer = [0; 4096];
        let mut input = std::io::stdin().lock();
        while let Ok(bytes) = input.read(&mut buffer) {
            if bytes == 0 || out.write_all(&buffer[..bytes]).is_err() || out.flush().is_err() {
                return;
            }
        }
        return;
    }
    eprintln!("asked for {}", variable("REQUEST_URI"));
    let mut all: Vec<_> = std::env::vars().collect();
    all.sort();
    for (name, value) in all {
        let _ = writeln!(out, "{name}={value}");
    }
    let arguments: Vec<_> = std::env::args().collect();
    let _ = writeln!(out, "arguments: {arguments:?}");
}

fn println_or_end(out: &mut impl Write, text: &str) {
    let _ = writeln!(out, "{text}");
}
