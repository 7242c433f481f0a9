//! `spin:postgres/postgres@3.0.0`.

use spin_sdk::pg3::{Connection, ParameterValue};

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
        "null" => ParameterValue::DbNull,
        _ => ParameterValue::Str(rest.to_owned()),
    }
}
