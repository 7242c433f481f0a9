//! Statements on one connection, by both of the interfaces that Spin's SDK 5 has.

use std::time::Duration;

use query::Target;
use spin_sdk::http::{IntoResponse, Request, Response};
use spin_sdk::{http_component, sqlite, sqlite3};

#[http_component]
fn handle(req: Request) -> anyhow::Result<impl IntoResponse> {
    let target = Target::new(req.path_and_query().map(str::to_owned));
    let answered = match target.path() {
        "/2" => of_2(&target, req.body()),
        _ => of_3(&target),
    };
    let (status, body) = match answered {
        Ok(body) => (200, body),
        Err(why) => (418, why),
    };
    Ok(Response::new(status, body))
}

/// The statements; `wait N` among them waits so many milliseconds.
fn statements(target: &Target) -> Vec<String> {
    let all = target.text("sql").unwrap_or_default();
    all.split(";;").map(str::to_owned).collect()
}

fn wait(statement: &str) -> bool {
    let ms = statement.strip_prefix("wait ").and_then(|ms| ms.parse().ok());
    if let Some(ms) = ms {
        std::thread::sleep(Duration::from_millis(ms));
    }
    ms.is_some()
}

fn of_2(target: &Target, body: &[u8]) -> Result<String, String> {
    use sqlite::{Connection, Value};
    let name = target.text("db").unwrap_or_else(|| "default".to_owned());
    let mut connections = Vec::new();
    for _ in 0..target.number("times", 1) {
        connections.push(Connection::open(&name).map_err(|error| format!("{error:?}"))?);
    }
    let connection = connections.first().ok_or("no connection")?;
    let mut said = Vec::new();
    for statement in statements(target) {
        if wait(&statement) {
            continue;
        }
        // A body is the one parameter, in two forms.
        let parameters = match body {
            [] => Vec::new(),
            body => vec![Value::Blob(body.to_vec()), Value::Text(String::from_utf8_lossy(body).into_owned())],
        };
        let result = connection
            .execute(&statement, &parameters)
            .map_err(|error| format!("{}{error:?}", lines(&said)))?;
        for row in &result.rows {
            let values = result.columns.iter().zip(&row.values);
            said.push(values.map(|(column, value)| format!("{column}={value:?}")).collect::<Vec<_>>().join(" "));
        }
    }
    Ok(said.join("\n"))
}

fn of_3(target: &Target) -> Result<String, String> {
    use sqlite3::Connection;
    let name = target.text("db").unwrap_or_else(|| "default".to_owned());
    let connection = Connection::open(&name).map_err(|error| format!("{error:?}"))?;
    let mut said = Vec::new();
    for statement in statements(target) {
        if wait(&statement) {
            continue;
        }
        let result = connection
            .execute(&statement, &[])
            .map_err(|error| format!("{}{error:?}", lines(&said)))?;
        for row in &result.rows {
            let values = result.columns.iter().zip(&row.values);
            said.push(values.map(|(column, value)| format!("{column}={value:?}")).collect::<Vec<_>>().join(" "));
        }
        said.push(format!("changes {} last {}", connection.changes(), connection.last_insert_rowid()));
    }
    Ok(said.join("\n"))
}

fn lines(said: &[String]) -> String {
    said.iter().map(|line| format!("{line}\n")).collect()
}
