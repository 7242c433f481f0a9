//! Values for statements, in the form in which they are typed: the server knows what each place takes, and says what does
//! not fit.

use std::fmt::Display;

use super::calendar::{self, Date, Time};
use super::client::Parameter;
use super::value::Bound;

impl Parameter {
    /// NULL.
    pub(super) fn null() -> Self {
        Self {
            is_binary: false,
            bytes: None,
        }
    }

    /// What is typed so.
    pub(super) fn typed(value: impl Display) -> Self {
        Self {
            is_binary: false,
            bytes: Some(value.to_string().into_bytes()),
        }
    }

    /// Bytes as they are.
    pub(super) fn binary(bytes: Vec<u8>) -> Self {
        Self {
            is_binary: true,
            bytes: Some(bytes),
        }
    }

    /// Text that the server reads.
    pub(super) fn text(text: impl Into<Vec<u8>>) -> Self {
        Self {
            is_binary: false,
            bytes: Some(text.into()),
        }
    }

    pub(super) fn date(date: Date) -> Self {
        Self::text(calendar::date_text(date))
    }

    pub(super) fn time(time: Time) -> Self {
        Self::text(calendar::time_text(time))
    }

    pub(super) fn datetime(date: Date, time: Time) -> Self {
        Self::text(calendar::datetime_text(date, time, ""))
    }

    /// Seconds from 1970-01-01 on.
    ///
    /// # Errors
    /// A text that says what is wrong with it.
    pub(super) fn timestamp(seconds: i64) -> Result<Self, String> {
        let text = calendar::timestamp_text(seconds);
        let text = text.ok_or_else(|| format!("{seconds} s is in a year that no date has"))?;
        Ok(Self::text(text))
    }

    pub(super) fn interval(micros: i64, days: i32, months: i32) -> Self {
        let sign = if micros < 0 { "-" } else { "" };
        let micros = micros.unsigned_abs();
        let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
        let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        Self::text(format!(
            "{months} mons {days} days {sign}{hours}:{minutes:02}:{seconds:02}.{micros:06}"
        ))
    }

    pub(super) fn range<T: Display>(lower: Bound<T>, upper: Bound<T>) -> Self {
        let mut text = String::new();
        let open = if lower.as_ref().is_some_and(|(_, is_in)| *is_in) {
            '['
        } else {
            '('
        };
        let close = if upper.as_ref().is_some_and(|(_, is_in)| *is_in) {
            ']'
        } else {
            ')'
        };
        text.push(open);
        if let Some((end, _)) = lower {
            quoted(&mut text, &end.to_string());
        }
        text.push(',');
        if let Some((end, _)) = upper {
            quoted(&mut text, &end.to_string());
        }
        text.push(close);
        Self::text(text)
    }

    pub(super) fn array<T: Display>(values: Vec<Option<T>>) -> Self {
        let mut text = String::from("{");
        for (number, value) in values.into_iter().enumerate() {
            if number > 0 {
                text.push(',');
            }
            match value {
                Some(value) => quoted(&mut text, &value.to_string()),
                None => text.push_str("NULL"),
            }
        }
        text.push('}');
        Self::text(text)
    }
}

/// So that nothing in it is taken for what is around it.
fn quoted(text: &mut String, value: &str) {
    text.push('"');
    for c in value.chars() {
        if matches!(c, '"' | '\\') {
            text.push('\\');
        }
        text.push(c);
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(parameter: Parameter) -> String {
        assert!(!parameter.is_binary);
        String::from_utf8(parameter.bytes.unwrap()).unwrap()
    }

    #[test]
    fn what_is_within_a_value_stays_there() {
        let values = vec![Some(r#"a"},{\"#), None, Some("NULL"), Some("")];
        assert_eq!(
            text(Parameter::array(values)),
            r#"{"a\"},{\\",NULL,"NULL",""}"#
        );
        assert_eq!(text(Parameter::array::<i32>(vec![])), "{}");
        let range = Parameter::range(Some(("1),", true)), None);
        assert_eq!(text(range), r#"["1),",)"#);
    }

    #[test]
    fn intervals_keep_their_parts_and_signs() {
        assert_eq!(
            text(Parameter::interval(-1, -2, 3)),
            "3 mons -2 days -0:00:00.000001"
        );
        let most = text(Parameter::interval(i64::MIN, i32::MIN, i32::MAX));
        assert_eq!(
            most,
            "2147483647 mons -2147483648 days -2562047788:00:54.775808"
        );
    }
}
