//! `fermyon:spin/postgres@2.0.0`.

use spin_sdk::pg::{Connection, ParameterValue};

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
    match kind {
        "bool" => ParameterValue::Boolean(rest == "true"),
        "int8" => ParameterValue::Int8(number() as i8),
        "int16" => ParameterValue::Int16(number() as i16),
        "int32" => ParameterValue::Int32(number() as i32),
        "int64" => ParameterValue::Int64(number()),
        "uint8" => ParameterValue::Uint8(number() as u8),
        "uint16" => ParameterValue::Uint16(number() as u16),
        "uint32" => ParameterValue::Uint32(number() as u32),
        "uint64" => ParameterValue::Uint64(rest.parse().unwrap_or_default()),
        "f32" => ParameterValue::Floating32(rest.parse().unwrap_or_default()),
        "f64" => ParameterValue::Floating64(rest.parse().unwrap_or_default()),
        "bytes" => ParameterValue::Binary(rest.as_bytes().to_vec()),
        "null" => ParameterValue::DbNull,
        _ => ParameterValue::Str(rest.to_owned()),
    }
}
