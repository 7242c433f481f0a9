//! Matches (a+)+b against 60 times the letter a by backtracking, as a careless regular expression does.

use std::hint::black_box;

use p2::Target;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

fn misbehave(_target: &Target, _request: IncomingRequest, out: ResponseOutparam) {
    let text = [b'a'; 60];
    let found = black_box(matches(black_box(&text)));
    p2::answer(out, 200, if found { "found\n" } else { "not found\n" });
}

/// Whether `text` is one group `a+` or more, and then the letter b.
fn matches(text: &[u8]) -> bool {
    let letters = text.iter().take_while(|letter| **letter == b'a').count();
    (1..=letters).rev().any(|group| {
        let rest = &text[group..];
        rest == b"b" || matches(rest)
    })
}

p2::misbehaves!(misbehave);
