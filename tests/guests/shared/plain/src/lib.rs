//! A plain program without any SDK: environment and standard input in, a head and a body out.

use std::io::{Read, Seek, SeekFrom, Write};

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
    if let Some((what, path)) = query.split_once("=/") {
        let path = format!("/{path}");
        let said = match what {
            "read" => read(&path, &mut out),
            what => files(what, &path).map(|said| println_or_end(&mut out, &said)),
        };
        return said.unwrap_or_else(|error| println_or_end(&mut out, &error.to_string()));
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

/// A file as it is, piece by piece.
fn read(path: &str, out: &mut impl Write) -> std::io::Result<()> {
    let mut file = std::fs::File::open(path)?;
    let mut buffer = [0; 16 << 10];
    loop {
        let bytes = file.read(&mut buffer)?;
        if bytes == 0 {
            return Ok(());
        }
        out.write_all(&buffer[..bytes])?;
    }
}

/// What else there is of files: `list`, `part` from the middle on, and all that would `change` something.
fn files(what: &str, path: &str) -> std::io::Result<String> {
    use std::fs;
    match what {
        "list" => {
            let mut names = Vec::new();
            for entry in fs::read_dir(path)? {
                let entry = entry?;
                let mark = if entry.file_type()?.is_dir() { "/" } else { "" };
                names.push(format!("{}{mark}", entry.file_name().display()));
            }
            names.sort();
            Ok(names.join(" "))
        }
        "part" => {
            let mut file = fs::File::open(path)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length / 2))?;
            let mut rest = String::new();
            file.read_to_string(&mut rest)?;
            Ok(format!("{length} {rest}"))
        }
        _ => {
            let said = |name: &str, result: std::io::Result<()>| match result {
                Ok(()) => format!("{name}: done"),
                Err(error) => format!("{name}: {}", error.kind()),
            };
            let new = format!("{path}.new");
            let lines = [
                said("create", fs::write(&new, "x")),
                said("write", fs::OpenOptions::new().write(true).open(path).map(drop)),
                said("append", fs::OpenOptions::new().append(true).open(path).map(drop)),
                said("truncate", fs::File::create(path).map(drop)),
                said("remove", fs::remove_file(path)),
                said("rename", fs::rename(path, &new)),
                said("link", fs::hard_link(path, &new)),
                said("folder", fs::create_dir(&new)),
                said("above", fs::read("/../../etc/passwd").map(drop)),
                said("elsewhere", fs::read("/etc/passwd").map(drop)),
                said("as a folder", fs::read_dir(path).map(drop)),
                said("a folder as a file", fs::read("/").map(drop)),
            ];
            Ok(lines.join("\n"))
        }
    }
}

fn println_or_end(out: &mut impl Write, text: &str) {
    let _ = writeln!(out, "{text}");
}
