//! Decimal numbers of any length, as PostgreSQL sends them: digits to the base of ten thousand.

const NEGATIVE: u16 = 0x4000;
const NOT_A_NUMBER: u16 = 0xc000;
const INFINITE: u16 = 0xd000;
const NEGATIVE_INFINITE: u16 = 0xf000;

/// The number as it is typed, in at most 192 KiB; nothing where it is none.
pub(super) fn text(bytes: &[u8]) -> Option<String> {
    let mut words = bytes.chunks(2).map(|two| {
        let two = two.try_into().ok()?;
        Some(u16::from_be_bytes(two))
    });
    let mut word = || words.next().flatten();
    let (digits, weight, sign, scale) = (word()?, word()?, word()?, word()?);
    // Digits before the point, less one; may be negative.
    let weight = i32::from(weight.cast_signed());
    match sign {
        0 | NEGATIVE => {}
        NOT_A_NUMBER => return Some("NaN".to_owned()),
        INFINITE => return Some("Infinity".to_owned()),
        NEGATIVE_INFINITE => return Some("-Infinity".to_owned()),
        _ => return None,
    }
    let read: Option<Vec<u16>> = words.collect();
    let read = read.filter(|read| read.len() == usize::from(digits))?;
    if read.iter().any(|digit| *digit > 9999) {
        return None;
    }
    // The digit that counts so many powers of ten thousand.
    let digit = |power: i32| {
        let at = usize::try_from(weight - power).ok()?;
        read.get(at).copied()
    };
    let mut text = String::new();
    if sign == NEGATIVE {
        text.push('-');
    }
    text.push_str(&digit(weight.max(0)).unwrap_or(0).to_string());
    for power in (0..weight).rev() {
        text.push_str(&format!("{:04}", digit(power).unwrap_or(0)));
    }
    if scale > 0 {
        text.push('.');
        let whole = text.len() + usize::from(scale);
        let mut power = -1;
        while text.len() < whole {
            text.push_str(&format!("{:04}", digit(power).unwrap_or(0)));
            power -= 1;
        }
        text.truncate(whole);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(words: &[u16]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    #[test]
    fn numbers_are_written_as_they_are_typed() {
        const BELOW: u16 = u16::MAX;
        for (words, expected) in [
            (&[0, 0, 0, 0][..], "0"),
            (&[0, 0, 0, 2], "0.00"),
            (&[1, 0, 0, 0, 7], "7"),
            (&[2, 1, 0, 0, 1, 2345], "12345"),
            (&[1, 1, 0, 0, 1], "10000"),
            (&[2, 0, NEGATIVE, 2, 12, 3400], "-12.34"),
            (&[1, BELOW, 0, 4, 5], "0.0005"),
            (&[1, BELOW, 0, 2, 1200], "0.12"),
            (&[1, BELOW - 1, 0, 8, 1], "0.00000001"),
            (&[0, 0, NOT_A_NUMBER, 0], "NaN"),
            (&[0, 0, NEGATIVE_INFINITE, 0], "-Infinity"),
        ] {
            assert_eq!(text(&sent(words)).as_deref(), Some(expected), "{words:?}");
        }
    }

    #[test]
    fn what_is_none_is_none_and_the_largest_is_bounded() {
        for words in [
            &[][..],
            &[0, 0, 0],
            &[2, 0, 0, 0, 1],
            &[1, 0, 0, 0, 10_000],
            &[0, 0, 1, 0],
        ] {
            assert_eq!(text(&sent(words)), None, "{words:?}");
        }
        assert_eq!(text(&[0; 7]), None);
        let largest = text(&sent(&[0, 0x7fff, 0, u16::MAX])).unwrap();
        assert!(largest.len() <= 4 * 0x8000 + 2 + 0xffff);
        let smallest = text(&sent(&[1, 0x8000, 0, 0, 1])).unwrap();
        assert_eq!(smallest, "0");
    }
}
