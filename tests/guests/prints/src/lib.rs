//! Writes lines to stdout and to stderr.

use std::io::{self, Write};

use wasip2::http::types::{IncomingRequest, ResponseOutparam};

struct Prints;

impl wasip2::exports::http::incoming_handler::Guest for Prints {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let target = p2::target(&request);
        let lines = target.number("lines", 1);
        let line_bytes = target.number("bytes", 0) as usize;
        let to_stdout = target.text("out").map(|text| line(&text, line_bytes));
        let to_stderr = target.text("err").map(|text| line(&text, line_bytes));
        for _ in 0..lines {
            // A host may close either: printing is then lost, and the request goes on.
            let _ = to_stdout.as_ref().map(|line| io::stdout().write_all(line));
            let _ = to_stderr.as_ref().map(|line| io::stderr().write_all(line));
        }
        p2::answer(out, 200, "printed\n");
    }
}

/// The text with its line end, repeated or cut to `line_bytes` before it when that is not 0.
fn line(text: &str, line_bytes: usize) -> Vec<u8> {
    let mut line = match line_bytes {
        0 => text.as_bytes().to_vec(),
        count => text.bytes().cycle().take(count).collect(),
    };
    line.push(b'\n');
    line
}

wasip2::http::proxy::export!(Prints);
