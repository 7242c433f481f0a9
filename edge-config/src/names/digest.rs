//! The SHA-256 digest that names a component.

use std::{fmt, str::FromStr};

use crate::{
    quote::Quoted,
    text::{serde_as_text, text_schema},
};

const PREFIX: &str = "sha-256:";
const ALLOWED: &str = "\"sha-256:\" and 64 of 0-9 and a-f";

/// A SHA-256 digest (FIPS 180-4), written `sha-256:<64 lower-case hex digits>`.
///
/// The name of the algorithm is the one of RFC 9530 §5. Computing a digest is not done here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Takes what a SHA-256 function gave.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The 64 lower-case hex digits without the algorithm, as file names and ETags use them.
    pub fn hex(&self) -> String {
        self.0
            .iter()
            .flat_map(|byte| [byte >> 4, byte & 0xf])
            .filter_map(|nibble| char::from_digit(u32::from(nibble), 16))
            .collect()
    }

    /// Reads what [`Digest::hex`] writes.
    ///
    /// # Errors
    /// [`DigestError::Length`], [`DigestError::Character`].
    pub fn from_hex(hex: &str) -> Result<Self, DigestError> {
        let digest = || Quoted::new(hex);
        if let Some(character) = hex.chars().find(|c| !matches!(c, '0'..='9' | 'a'..='f')) {
            return Err(DigestError::Character {
                digest: digest(),
                character,
            });
        }
        let mut bytes = [0; 32];
        let (pairs, odd) = hex.as_bytes().as_chunks::<2>();
        if pairs.len() != bytes.len() || !odd.is_empty() {
            return Err(DigestError::Length {
                digest: digest(),
                characters: hex.len(),
            });
        }
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = nibble(*high) << 4 | nibble(*low);
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// Why a text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// It does not start with `sha-256:`.
    #[error("digest {digest} does not start with {}; allowed: {}", PREFIX, ALLOWED)]
    Algorithm {
        /// What was given.
        digest: Quoted,
    },
    /// Not 64 characters after the algorithm.
    #[error(
        "digest {digest} has {characters} characters after {}; allowed: {}",
        PREFIX,
        ALLOWED
    )]
    Length {
        /// What was given.
        digest: Quoted,
        /// How many characters follow the algorithm.
        characters: usize,
    },
    /// A character that is no lower-case hex digit.
    #[error("digest {digest} contains {character:?}; allowed: {}", ALLOWED)]
    Character {
        /// What was given.
        digest: Quoted,
        /// The first character that is not allowed.
        character: char,
    },
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let Some(hex) = text.strip_prefix(PREFIX) else {
            return Err(DigestError::Algorithm {
                digest: Quoted::new(text),
            });
        };
        Self::from_hex(hex)
    }
}

/// The value of a lower-case hex digit, which the caller has checked it to be.
fn nibble(digit: u8) -> u8 {
    match digit {
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit.wrapping_sub(b'0'),
    }
}

serde_as_text!(Digest, ALLOWED);
text_schema!(Digest, ALLOWED,
    example "sha-256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    with |object| object.pattern(Some("^sha-256:[0-9a-f]{64}$")));

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_fault_has_its_message() {
        let hex = "0".repeat(64);
        for (text, start) in [
            (String::new(), "digest \"\" does not start with sha-256:"),
            (hex.clone(), "digest \"000"),
            (format!("sha256:{hex}"), "digest \"sha256:000"),
            (format!("SHA-256:{hex}"), "digest \"SHA-256:000"),
        ] {
            let error = text.parse::<Digest>().unwrap_err();
            assert!(matches!(error, DigestError::Algorithm { .. }), "{error}");
            assert!(error.to_string().starts_with(start), "{error}");
        }
        let error = format!("sha-256:{}A", "0".repeat(63)).parse::<Digest>();
        assert!(matches!(
            error,
            Err(DigestError::Character { character: 'A', .. })
        ));
        for digits in [0, 1, 63, 65, 66] {
            let error = format!("sha-256:{}", "0".repeat(digits)).parse::<Digest>();
            assert!(
                matches!(error, Err(DigestError::Length { characters, .. }) if characters == digits)
            );
        }
    }

    #[test]
    fn the_digits_stand_in_the_order_of_the_bytes() {
        let mut bytes = [0; 32];
        bytes[0] = 0x1f;
        bytes[31] = 0xa0;
        let hex = Digest::from_bytes(bytes).hex();
        assert!(hex.starts_with("1f00") && hex.ends_with("00a0"), "{hex}");
    }

    proptest! {
        #[test]
        fn every_digest_round_trips(bytes in any::<[u8; 32]>()) {
            let digest = Digest::from_bytes(bytes);
            prop_assert_eq!(digest.hex().len(), 64);
            prop_assert_eq!(Digest::from_hex(&digest.hex()), Ok(digest));
            prop_assert_eq!(digest.to_string().parse(), Ok(digest));
        }

        #[test]
        fn any_text_is_accepted_as_it_is_or_refused(text in "(sha-256:)?\\PC{0,80}") {
            if let Ok(digest) = text.parse::<Digest>() {
                prop_assert_eq!(digest.to_string(), text);
            }
        }
    }
}
