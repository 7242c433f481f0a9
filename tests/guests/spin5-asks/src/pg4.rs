//! `spin:postgres/postgres@4.0.0`.

use spin_sdk::pg4::{Connection, Interval, ParameterValue, RangeBoundKind};

use crate::numbers;

pub fn answer(address: &str, script: &str) -> Result<Vec<String>, String> {
    let connection = Connection::open(address).map_err(|error| format!("{error:?}"))?;
    Ok(script.lines().map(|line| said(&connection, line)).collect())
}

fn said(connection: &Connection, line: &str) -> String {
    let mut parts = line.split('\t');
    let (verb, statement) = parts.next().unwrap_or_default().split_once(' ').unwrap_or_default();
    let values: Vec<_> = parts.map(value).collect();
    if verb == "execute" {
        return format!("{:?}", connection.execute(statement, &values));
    }
    match connection.query(statement, &values) {
        Ok(got) => {
            let columns: Vec<_> = got.columns.iter().map(|one| format!("{}:{:?}", one.name, one.data_type)).collect();
            format!("{} {:?}", columns.join(","), got.rows)
        }
        Err(error) => format!("{error:?}"),
    }
}

/// `1,2` is from 1, which is in it, to 2, which is not; `,2` has no beginning.
type Range<T> = (Option<(T, RangeBoundKind)>, Option<(T, RangeBoundKind)>);

fn range<T>(text: &str, read: impl Fn(&str) -> Option<T>) -> Range<T> {
    let (first, last) = text.split_once(',').unwrap_or_default();
    (read(first).map(|one| (one, RangeBoundKind::Inclusive)), read(last).map(|one| (one, RangeBoundKind::Exclusive)))
}

fn word(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty() && text != "NULL")
}

fn value(text: &str) -> ParameterValue {
    let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
    let number = || rest.parse::<i64>().unwrap_or_default();
    let at = |place: usize| numbers::<u32>(rest).get(place).copied().unwrap_or_default();
    let year = || numbers::<i32>(rest)[0];
    match kind {
        "bool" => ParameterValue::Boolean(rest == "true"),
        "int8" => ParameterValue::Int8(number() as i8),
        "int16" => ParameterValue::Int16(number() as i16),
        "int32" => ParameterValue::Int32(number() as i32),
        "int64" => ParameterValue::Int64(number()),
        "f32" => ParameterValue::Floating32(rest.parse().unwrap_or_default()),
        "f64" => ParameterValue::Floating64(rest.parse().unwrap_or_default()),
        "bytes" => ParameterValue::Binary(rest.as_bytes().to_vec()),
        "date" => ParameterValue::Date((year(), at(1) as u8, at(2) as u8)),
        "time" => ParameterValue::Time((at(0) as u8, at(1) as u8, at(2) as u8, at(3))),
        "datetime" => ParameterValue::Datetime((
            year(),
            at(1) as u8,
            at(2) as u8,
            at(3) as u8,
            at(4) as u8,
            at(5) as u8,
            at(6),
        )),
        "timestamp" => ParameterValue::Timestamp(number()),
        "uuid" => ParameterValue::Uuid(rest.to_owned()),
        "jsonb" => ParameterValue::Jsonb(rest.as_bytes().to_vec()),
        "decimal" => ParameterValue::Decimal(rest.to_owned()),
        "range32" => ParameterValue::RangeInt32(range(rest, |text| text.parse().ok())),
        "range64" => ParameterValue::RangeInt64(range(rest, |text| text.parse().ok())),
        "rangedecimal" => ParameterValue::RangeDecimal(range(rest, word)),
        "array32" => ParameterValue::ArrayInt32(rest.split(',').map(|text| text.parse().ok()).collect()),
        "array64" => ParameterValue::ArrayInt64(rest.split(',').map(|text| text.parse().ok()).collect()),
        "arraydecimal" => ParameterValue::ArrayDecimal(rest.split(',').map(word).collect()),
        "arraystr" => ParameterValue::ArrayStr(rest.split(',').map(word).collect()),
        "interval" => {
            let all = numbers::<i64>(rest);
            ParameterValue::Interval(Interval { micros: all[0], days: all[1] as i32, months: all[2] as i32 })
        }
        "null" => ParameterValue::DbNull,
        _ => ParameterValue::Str(rest.to_owned()),
    }
}
