//! Statements on one connection, by the interface that Spin's SDK 7 has.

use query::Target;
use spin_sdk::http::{IntoResponse, Request, Response, StatusCode};
use spin_sdk::http_service;
use spin_sdk::sqlite::Connection;

#[http_service]
async fn handle(req: Request) -> anyhow::Result<impl IntoResponse> {
    let asked = req.uri().path_and_query().map(|target| target.as_str().to_owned());
    let (status, body) = match answer(&Target::new(asked)).await {
        Ok(body) => (StatusCode::OK, body),
        Err(why) => (StatusCode::IM_A_TEAPOT, why),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    Ok(response)
}

async fn answer(target: &Target) -> Result<String, String> {
    let name = target.text("db").unwrap_or_else(|| "default".to_owned());
    let connection = Connection::open(&name).await.map_err(|error| format!("{error:?}"))?;
    let mut said = Vec::new();
    for statement in target.text("sql").unwrap_or_default().split(";;") {
        let failed = |said: &[String], error| {
            let before: String = said.iter().map(|line| format!("{line}\n")).collect();
            format!("{before}{error:?}")
        };
        let result = connection.execute(statement, []).await.map_err(|error| failed(&said, error))?;
        let columns = result.columns().to_vec();
        let rows = result.collect().await.map_err(|error| failed(&said, error))?;
        for row in &rows {
            let values = columns.iter().zip(&row.values);
            said.push(values.map(|(column, value)| format!("{column}={value:?}")).collect::<Vec<_>>().join(" "));
        }
        said.push(format!("changes {} last {}", connection.changes().await, connection.last_insert_rowid().await));
    }
    Ok(said.join("\n"))
}
