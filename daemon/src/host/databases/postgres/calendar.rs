//! Days and microseconds as PostgreSQL counts them, from 2000-01-01 on.

/// Seconds from 1970-01-01 to 2000-01-01.
pub(super) const EPOCH_S: i64 = 946_684_800;
pub(super) const MICROS_A_DAY: i64 = 86_400_000_000;

/// Year, month and day.
pub(super) type Date = (i32, u8, u8);
/// Hour, minute, second and nanosecond.
pub(super) type Time = (u8, u8, u8, u32);

/// Days in 400 years, after which the calendar repeats itself.
const ERA_DAYS: i64 = 146_097;
/// Days from 0000-03-01, where leap days stand at the end of a year, to 2000-01-01.
const SHIFT_DAYS: i64 = 730_425;

/// The date so many days after 2000-01-01; nothing for a year beyond what the interface has.
pub(super) fn date(days: i64) -> Option<Date> {
    let days = days.checked_add(SHIFT_DAYS)?;
    let (era, day) = (days.div_euclid(ERA_DAYS), days.rem_euclid(ERA_DAYS));
    // Of the days that have passed, those that were leap days are taken off.
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // March to July, August to December, January and February: 153 days in five months.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    let year = i32::try_from(era * 400 + year + next).ok()?;
    Some((year, u8::try_from(month).ok()?, u8::try_from(day).ok()?))
}

/// The time of a day so many microseconds after its beginning; the end of the day is one too.
pub(super) fn time(micros: i64) -> Option<Time> {
    if !(0..=MICROS_A_DAY).contains(&micros) {
        return None;
    }
    let seconds = micros / 1_000_000;
    let part = |value: i64| u8::try_from(value).ok();
    Some((
        part(seconds / 3600)?,
        part(seconds / 60 % 60)?,
        part(seconds % 60)?,
        u32::try_from(micros % 1_000_000 * 1000).ok()?,
    ))
}

/// A date as it is typed: years before the first count backwards from 1 BC.
pub(super) fn date_text((year, month, day): Date) -> String {
    let (year, era) = if year > 0 {
        (i64::from(year), "")
    } else {
        (1 - i64::from(year), " BC")
    };
    format!("{year:04}-{month:02}-{day:02}{era}")
}

/// A time as it is typed, in microseconds.
pub(super) fn time_text((hour, minute, second, nanosecond): Time) -> String {
    format!("{hour:02}:{minute:02}:{second:02}.{:06}", nanosecond / 1000)
}

/// Both as they are typed.
pub(super) fn datetime_text(date: Date, time: Time, zone: &str) -> String {
    let text = date_text(date);
    let (date, era) = match text.strip_suffix(" BC") {
        Some(date) => (date, " BC"),
        None => (text.as_str(), ""),
    };
    format!("{date} {}{zone}{era}", time_text(time))
}

/// A time in seconds from 1970-01-01 on, as it is typed; nothing where its year is beyond what the interface has.
pub(super) fn timestamp_text(seconds: i64) -> Option<String> {
    let seconds = seconds.checked_sub(EPOCH_S)?;
    let date = date(seconds.div_euclid(86_400))?;
    let time = time(seconds.rem_euclid(86_400) * 1_000_000)?;
    Some(datetime_text(date, time, "+00"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        for (days, expected) in [
            (0, (2000, 1, 1)),
            (59, (2000, 2, 29)),
            (60, (2000, 3, 1)),
            (365, (2000, 12, 31)),
            (366, (2001, 1, 1)),
            (-1, (1999, 12, 31)),
            (-10_957, (1970, 1, 1)),
            (9_825, (2026, 11, 25)),
            (36_583, (2100, 2, 28)),
            (36_584, (2100, 3, 1)),
            (-730_119, (1, 1, 1)),
            (-730_120, (0, 12, 31)),
        ] {
            assert_eq!(date(days), Some(expected), "{days}");
        }
        assert_eq!(date(i64::MAX), None);
        // One after the other, through an era and its ends.
        let mut last = date(-200_000).unwrap();
        for days in -199_999..200_000 {
            let next = date(days).unwrap();
            assert!(
                next > last && (next.2 == last.2 + 1 || next.2 == 1),
                "{last:?} {next:?}"
            );
            last = next;
        }
    }

    #[test]
    fn times_are_written_as_they_are_typed() {
        assert_eq!(time(MICROS_A_DAY), Some((24, 0, 0, 0)));
        assert_eq!(time(MICROS_A_DAY + 1), None);
        assert_eq!(time(-1), None);
        assert_eq!(time(3_661_000_001), Some((1, 1, 1, 1000)));
        assert_eq!(date_text((0, 12, 31)), "0001-12-31 BC");
        let typed = datetime_text((-43, 3, 15), (11, 30, 0, 5_000), "");
        assert_eq!(typed, "0044-03-15 11:30:00.000005 BC");
        assert_eq!(
            timestamp_text(0).as_deref(),
            Some("1970-01-01 00:00:00.000000+00")
        );
        assert_eq!(
            timestamp_text(-1).as_deref(),
            Some("1969-12-31 23:59:59.000000+00")
        );
        assert_eq!(timestamp_text(i64::MIN), None);
    }
}
