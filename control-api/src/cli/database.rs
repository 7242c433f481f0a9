//! `littoral database`: a tenant's SQL databases.

use std::path::PathBuf;

use clap::Subcommand;
use edge_config::{StoreName, TenantName};
use serde_json::json;

use super::context::{Context, all};
use super::failure::Failure;
use super::output::table;
use crate::view::{SqlQuery, SqlResult, SqlValue};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List a tenant's databases
    List {
        /// The tenant
        #[arg(long)]
        tenant: TenantName,
    },
    /// Carry out one statement, within what a guest of the tenant may use
    Query {
        /// The tenant
        #[arg(long)]
        tenant: TenantName,
        /// The database; most programs use `default`
        #[arg(long, default_value = "default")]
        database: StoreName,
        /// The statement; from a file where absent
        #[arg(required_unless_present = "file")]
        statement: Option<String>,
        /// A file that holds the statement
        #[arg(long, conflicts_with = "statement")]
        file: Option<PathBuf>,
        /// Text for one of the statement's parameters, in their order
        #[arg(long, value_name = "TEXT")]
        parameter: Vec<String>,
    },
    /// Remove a database
    Delete {
        /// The tenant
        #[arg(long)]
        tenant: TenantName,
        /// The database
        database: StoreName,
    },
}

pub(super) async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    let client = context.client()?;
    match command {
        Command::List { tenant } => {
            let databases = all(usize::MAX, async |page| {
                client.databases(&tenant, &page).await
            })
            .await?;
            context.show(&databases, || {
                let rows: Vec<_> = databases
                    .iter()
                    .map(|database| [database.name.clone(), database.bytes.to_string()])
                    .collect();
                table(["DATABASE", "BYTES"], &rows)
            })
        }
        Command::Query {
            tenant,
            database,
            statement,
            file,
            parameter,
        } => {
            let statement = match (statement, file) {
                (Some(statement), _) => statement,
                (None, Some(file)) => std::fs::read_to_string(&file).map_err(|error| {
                    Failure::local(format!("{} cannot be read", file.display()), error)
                })?,
                (None, None) => return Err(Failure::Usage("there is no statement".to_owned())),
            };
            let query = SqlQuery {
                statement,
                parameters: parameter.into_iter().map(SqlValue::Text).collect(),
            };
            let result = client.query_database(&tenant, &database, &query).await?;
            context.show(&result, || text(&result))
        }
        Command::Delete { tenant, database } => {
            client.delete_database(&tenant, &database).await?;
            context.show(&json!({ "deleted": database }), || {
                format!("{database} is gone\n")
            })
        }
    }
}

/// Rows with tabs between their values; how many were changed where there are no columns.
fn text(result: &SqlResult) -> String {
    if result.columns.is_empty() {
        return format!("{} rows changed\n", result.changes);
    }
    let mut text = result.columns.join("\t") + "\n";
    for row in &result.rows {
        let values: Vec<_> = row.iter().map(shown).collect();
        text.push_str(&values.join("\t"));
        text.push('\n');
    }
    text
}

/// Control characters would be orders to a terminal, and tabs another column.
fn shown(value: &SqlValue) -> String {
    match value {
        SqlValue::Null(()) => "null".to_owned(),
        SqlValue::Integer(number) => number.to_string(),
        SqlValue::Real(number) => number.to_string(),
        SqlValue::Text(text) if text.contains(char::is_control) => text.escape_debug().to_string(),
        SqlValue::Text(text) => text.clone(),
        SqlValue::Blob(blob) => format!("base64:{}", blob.base64),
    }
}
