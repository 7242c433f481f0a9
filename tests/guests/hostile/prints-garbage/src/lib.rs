//! Prints what should not reach a terminal: control and escape sequences, every byte, no UTF-8, text that turns round.

use std::io::{self, Write};

use p2::Target;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

fn misbehave(_target: &Target, _request: IncomingRequest, out: ResponseOutparam) {
    for line in LINES {
        let _ = io::stdout().write_all(line);
        let _ = io::stderr().write_all(line);
    }
    let every: Vec<u8> = (0..=u8::MAX).collect();
    let _ = io::stdout().write_all(&every);
    p2::answer(out, 200, "printed\n");
}

const LINES: &[&[u8]] = &[
    // Clears the screen, sets the window's title, asks the terminal to answer, writes a link.
    b"\x1b[2J\x1b[H\n",
    b"\x1b]0;title\x07\n",
    b"\x1b[c\x1b[6n\n",
    b"\x1b]8;;http://evil.test\x1b\\link\x1b]8;;\x1b\\\n",
    // The same introducer as one byte, and as UTF-8.
    b"\x9b31m\n",
    b"\xc2\x9b31m\n",
    // Overwrites its line; pretends to be another.
    b"innocent\rguilty\n",
    b"{\"level\":\"error\",\"tenant\":\"another\"}\n",
    // Not UTF-8: cut short, overlong, a surrogate.
    b"\xe2\x82\n\xc0\xaf\n\xed\xa0\x80\n",
    // Right-to-left override, a line separator, a byte order mark, a null.
    b"\xe2\x80\xaetxt.exe\n\xe2\x80\xa8\xef\xbb\xbf\0\n",
];

p2::misbehaves!(misbehave);
