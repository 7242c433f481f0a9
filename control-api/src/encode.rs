//! Percent-encoding of one path segment or query value (RFC 3986 §2.1): everything but unreserved characters.

use std::fmt::Write as _;

/// `text` so that it stands as one segment or value, slashes included.
pub(crate) fn percent(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            other => write!(encoded, "%{other:02X}").expect("writing to a string does not fail"),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unreserved_characters_stay() {
        assert_eq!(percent("hello.localhost/"), "hello.localhost%2F");
        assert_eq!(percent("*.acme.test/a b"), "%2A.acme.test%2Fa%20b");
        assert_eq!(percent("-._~"), "-._~");
    }
}
