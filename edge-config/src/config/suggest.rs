//! The name that was probably meant.
//!
//! Takes a wrong name and the right ones. Promises at most one suggestion. Names longer than
//! [`NAME_BYTES_MAX`] are not looked at, so the work is bounded.

const NAME_BYTES_MAX: usize = 64;

/// Units that keys carry, and those that people write instead.
const UNITS: &[&str] = &[
    "b", "byte", "bytes", "kb", "kib", "mb", "mib", "gb", "gib", "us", "ms", "s", "sec", "secs",
    "seconds", "millis", "min", "minutes", "h", "hours",
];

/// The name nearest to `wrong`, if one is near.
///
/// A name that differs in its unit only, or in the order of its words, is nearest of all.
pub(super) fn nearest<'a>(
    wrong: &str,
    names: impl Iterator<Item = &'a str> + Clone,
) -> Option<&'a str> {
    if wrong.len() > NAME_BYTES_MAX {
        return None;
    }
    let wrong = wrong.to_ascii_lowercase().replace('-', "_");
    let meant = words_without_unit(&wrong);
    let same_words = names
        .clone()
        .filter(|name| !meant.is_empty() && words_without_unit(name) == meant)
        .min_by_key(|name| edits(&wrong, name));
    same_words.or_else(|| {
        names
            .map(|name| (edits(&wrong, name), name))
            // One letter in three may be wrong: more is another word.
            .filter(|(edits, name)| *edits <= name.len().min(wrong.len()) / 3)
            .min_by_key(|(edits, _)| *edits)
            .map(|(_, name)| name)
    })
}

fn words_without_unit(name: &str) -> Vec<&str> {
    let mut words: Vec<_> = name
        .split('_')
        // "max" is what people leave out first.
        .filter(|word| !UNITS.contains(word) && *word != "max")
        .collect();
    words.sort_unstable();
    words
}

/// The Levenshtein distance: single characters inserted, removed or replaced.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (to, above) in b.chars().zip(row.iter_mut().skip(1)) {
            let replaced = diagonal + usize::from(from != to);
            diagonal = *above;
            left = replaced.min(*above + 1).min(left + 1);
            *above = left;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_meant_name_is_found() {
        const NAMES: &[&str] = &[
            "deadline_ms",
            "memory_mib_max",
            "listen",
            "threads",
            "level",
            "backoff_ms_min",
            "backoff_ms_max",
        ];
        for (wrong, meant) in [
            ("deadline_s", Some("deadline_ms")),
            ("deadline", Some("deadline_ms")),
            ("deadline_seconds", Some("deadline_ms")),
            ("memory_max_mb", Some("memory_mib_max")),
            ("max-memory-mib", Some("memory_mib_max")),
            ("Listen", Some("listen")),
            ("lsiten", Some("listen")),
            ("thread", Some("threads")),
            ("backoff_s_max", Some("backoff_ms_max")),
            ("backoff_s_min", Some("backoff_ms_min")),
            ("lvl", None),
            ("ms", None),
            ("", None),
            ("entirely_else", None),
        ] {
            assert_eq!(nearest(wrong, NAMES.iter().copied()), meant, "{wrong}");
        }
    }

    #[test]
    fn edits_are_counted() {
        for (a, b, count) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
            ("ab", "ba", 2),
        ] {
            assert_eq!(edits(a, b), count, "{a} {b}");
        }
    }

    proptest! {
        #[test]
        fn edits_are_a_distance(a in ".{0,12}", b in ".{0,12}") {
            prop_assert_eq!(edits(&a, &a), 0);
            prop_assert_eq!(edits(&a, &b), edits(&b, &a));
            prop_assert_eq!(edits(&a, &b) == 0, a == b);
            prop_assert!(edits(&a, &b) <= a.chars().count().max(b.chars().count()));
        }
    }
}
