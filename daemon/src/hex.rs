//! Lower-case hexadecimal, as file names and ids have it.

use std::fmt::Write as _;

/// Two digits a byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let text = String::with_capacity(bytes.len().saturating_mul(2));
    bytes.iter().fold(text, |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The inverse of [`hex`] for 32 bytes; `None` for anything else, upper case included.
pub(crate) fn unhex(text: &str) -> Option<[u8; 32]> {
    edge_config::Digest::from_hex(text)
        .ok()
        .map(|digest| *digest.as_bytes())
}

/// 128 random bits: a name that nothing has yet, and that nobody guesses.
///
/// # Errors
/// If the system has no random bytes.
pub(crate) fn random_id() -> std::io::Result<String> {
    let mut bytes = [0_u8; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| std::io::Error::other("no random bytes"))?;
    Ok(hex(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_goes_there_and_back_and_nothing_else_does() {
        let bytes: [u8; 32] = std::array::from_fn(|i| u8::try_from(i * 8).unwrap());
        assert_eq!(unhex(&hex(&bytes)), Some(bytes));
        let text = hex(&bytes);
        assert_eq!(unhex(&text.to_uppercase()), None);
        assert_eq!(unhex(&text[1..]), None);
        assert_eq!(unhex(&format!("{text}00")), None);
        assert_eq!(unhex(&text.replace('0', "g")), None);
    }

    #[test]
    fn no_two_ids_are_alike() {
        let (one, other) = (random_id().unwrap(), random_id().unwrap());
        assert_eq!((one.len(), other.len()), (32, 32));
        assert_ne!(one, other);
    }
}
