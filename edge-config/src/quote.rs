//! Outside text inside a message of ours: escaped, cut, between quotes.
//!
//! Takes any text. Promises at most [`SHOWN_CHARS_MAX`] characters of it, none of which can
//! start a new log line or drive a terminal. Never fails.

use std::fmt;

/// How many characters of outside text a message repeats.
pub const SHOWN_CHARS_MAX: usize = 64;

/// A piece of outside text as messages show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quoted(Box<str>);

impl Quoted {
    /// Keeps the first [`SHOWN_CHARS_MAX`] characters, escaped as Rust would write them.
    pub fn new(text: &str) -> Self {
        let (shown, cut) = escaped(text);
        Self(format!("\"{shown}\"{cut}").into())
    }

    /// The same without the quotes, for what is not text: numbers, lists.
    pub(crate) fn bare(text: &str) -> Self {
        let (shown, cut) = escaped(text);
        Self(format!("{shown}{cut}").into())
    }
}

fn escaped(text: &str) -> (String, &'static str) {
    let mut rest = text.chars();
    let shown = rest
        .by_ref()
        .take(SHOWN_CHARS_MAX)
        .flat_map(char::escape_debug)
        .collect();
    (shown, if rest.next().is_some() { "…" } else { "" })
}

impl fmt::Display for Quoted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_do_not_reach_the_log() {
        assert_eq!(
            Quoted::new("a\n\u{1b}[2J\"").to_string(),
            r#""a\n\u{1b}[2J\"""#
        );
    }

    #[test]
    fn long_text_is_cut() {
        let shown = Quoted::new(&"é".repeat(10_000)).to_string();
        assert_eq!(shown.chars().count(), SHOWN_CHARS_MAX + 3);
        assert!(shown.ends_with("\"…"));
    }
}
