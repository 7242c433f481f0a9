//! What a request's target asks of a guest.
//!
//! Takes the path with its query as the host gave it; gives the path, and parameters by name.
//! It never fails: what cannot be read is as if it were absent.

/// A path with its query, such as `/half?ms=20`.
pub struct Target {
    path: String,
    query: String,
}

impl Target {
    /// Splits at the first `?`; an absent target is `/`.
    pub fn new(path_with_query: Option<String>) -> Self {
        let whole = path_with_query.unwrap_or_else(|| "/".to_owned());
        match whole.split_once('?') {
            Some((path, query)) => Self {
                path: path.to_owned(),
                query: query.to_owned(),
            },
            None => Self {
                path: whole,
                query: String::new(),
            },
        }
    }

    /// The path as it was sent, without its query.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The first parameter of that name, percent-decoded.
    pub fn text(&self, name: &str) -> Option<String> {
        let mut pairs = self
            .query
            .split('&')
            .filter_map(|pair| pair.split_once('='));
        let (_, value) = pairs.find(|(key, _)| *key == name)?;
        Some(decode(value))
    }

    /// The parameter as a whole number, or `otherwise` when it is absent or none.
    pub fn number(&self, name: &str, otherwise: u64) -> u64 {
        self.text(name)
            .and_then(|text| text.parse().ok())
            .unwrap_or(otherwise)
    }
}

/// Undoes percent-encoding (RFC 3986 §2.1) and the `+` of forms; a lone `%` stays as it is.
fn decode(value: &str) -> String {
    let mut decoded = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = match tail {
            [high, low, ..] if *first == b'%' => hex(*high).zip(hex(*low)),
            _ => None,
        };
        (rest, decoded) = match escaped {
            Some((high, low)) => (&tail[2..], pushed(decoded, high << 4 | low)),
            None if *first == b'+' => (tail, pushed(decoded, b' ')),
            None => (tail, pushed(decoded, *first)),
        };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

fn pushed(mut bytes: Vec<u8>, byte: u8) -> Vec<u8> {
    bytes.push(byte);
    bytes
}

fn hex(digit: u8) -> Option<u8> {
    (digit as char)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}
