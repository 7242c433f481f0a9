//! `spin:postgres/postgres@4.2.0`, what it has beyond 4.0.0: calls that others may go on beside.

use spin_sdk::pg::{Certificate, Connection, OpenOptions, ParameterValue};

pub async fn answer(address: &str, script: &str, ca: Option<String>) -> Result<Vec<String>, String> {
    let opened = match ca {
        None => Connection::open(address).await,
        Some(text) => {
            let ca_root = Some(Certificate::Text(text)).filter(|one| !matches!(one, Certificate::Text(text) if text.is_empty()));
            Connection::open_with_options(address, OpenOptions { ca_root }).await
        }
    };
    let connection = opened.map_err(|error| format!("{error:?}"))?;
    let mut said = Vec::new();
    for line in script.lines() {
        said.push(one(&connection, line).await);
    }
    Ok(said)
}

async fn one(connection: &Connection, line: &str) -> String {
    let mut parts = line.split('\t');
    let (verb, statement) = parts.next().unwrap_or_default().split_once(' ').unwrap_or_default();
    let values: Vec<_> = parts.map(value).collect();
    if verb == "execute" {
        return format!("{:?}", connection.execute(statement, values).await);
    }
    match connection.query(statement, values).await {
        Ok(mut got) => {
            let columns: Vec<_> = got.columns().iter().map(|one| format!("{}:{:?}", one.name, one.data_type)).collect();
            let mut rows = Vec::new();
            while let Some(row) = got.rows().next().await {
                rows.push(row);
            }
            match got.result().await {
                Ok(()) => format!("{} {rows:?}", columns.join(",")),
                Err(error) => format!("{error:?}"),
            }
        }
        Err(error) => format!("{error:?}"),
    }
}

fn value(text: &str) -> ParameterValue {
    let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
    match kind {
        "int32" => ParameterValue::Int32(rest.parse().unwrap_or_default()),
        "int64" => ParameterValue::Int64(rest.parse().unwrap_or_default()),
        "decimal" => ParameterValue::Decimal(rest.to_owned()),
        "null" => ParameterValue::DbNull,
        _ => ParameterValue::Str(rest.to_owned()),
    }
}
