//! `littoral variable`: configuration and secrets that guests read.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use edge_config::{TenantName, VariableId};
use serde_json::json;
use zeroize::Zeroizing;

use super::context::{Context, all};
use super::failure::Failure;
use super::output::{date, facts, table};
use crate::view::{Precondition, SecretText, VARIABLE_BYTES_MAX, Variable, VariableWrite};

/// Most characters of a value in a list.
const CHARACTERS_SHOWN_MAX: usize = 60;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Set a variable; guests read it from their next call on
    Set(Set),
    /// List a tenant's variables, those of its modules among them
    List {
        /// The tenant
        #[arg(long)]
        tenant: TenantName,
    },
    /// Show one variable; a secret without its value
    Show {
        /// The tenant
        #[arg(long)]
        tenant: TenantName,
        /// `NAME`, or `MODULE/NAME` for one of a module
        variable: VariableId,
    },
    /// Remove a variable
    Delete {
        /// The tenant
        #[arg(long)]
        tenant: TenantName,
        /// `NAME`, or `MODULE/NAME` for one of a module
        variable: VariableId,
    },
}

#[derive(Debug, Args)]
pub(super) struct Set {
    /// The tenant
    #[arg(long)]
    tenant: TenantName,
    /// `NAME`, which modules of the tenant read that were granted it, or `MODULE/NAME`, which is that module's own
    variable: VariableId,
    /// Its value, unless it is a secret: others can read arguments in the process list. Without it and without a file, it
    /// is read from standard input
    #[arg(conflicts_with = "secret")]
    value: Option<String>,
    /// Keep the value encrypted, and never show it again
    #[arg(long)]
    secret: bool,
    /// A file with the value. Of a file and of standard input, a line end at the very end is left out
    #[arg(long, value_name = "FILE", conflicts_with = "value")]
    file: Option<PathBuf>,
}

pub(super) async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    let client = context.client()?;
    match command {
        Command::Set(Set {
            tenant,
            variable,
            value,
            secret,
            file,
        }) => {
            let value = match value {
                Some(value) => value.into(),
                None => read(file.as_deref())?,
            };
            let write = VariableWrite { value, secret };
            let put = client
                .put_variable(&tenant, &variable, &write, Precondition::None)
                .await?;
            context.show(&put.resource.value, || {
                format!("variable {variable} of tenant {tenant} is set\n")
            })
        }
        Command::List { tenant } => {
            let variables = all(usize::MAX, async |page| {
                client.variables(&tenant, &page).await
            })
            .await?;
            context.show(&variables, || {
                let rows: Vec<_> = variables
                    .iter()
                    .map(|one| [one.id.to_string(), cut(value(one)), date(one.changed_at)])
                    .collect();
                table(["VARIABLE", "VALUE", "CHANGED"], &rows)
            })
        }
        Command::Show { tenant, variable } => {
            let found = client.variable(&tenant, &variable).await?.value;
            context.show(&found, || {
                facts(&[
                    ("variable", found.id.to_string()),
                    ("value", value(&found)),
                    ("changed", date(found.changed_at)),
                ])
            })
        }
        Command::Delete { tenant, variable } => {
            client
                .delete_variable(&tenant, &variable, Precondition::None)
                .await?;
            context.show(&json!({ "deleted": variable }), || {
                format!("variable {variable} of tenant {tenant} is gone\n")
            })
        }
    }
}

/// A value for people: quoted, so that it keeps to its line.
fn value(variable: &Variable) -> String {
    match &variable.value {
        Some(value) => format!("{value:?}"),
        None => "(secret)".to_owned(),
    }
}

/// What of a value a table has room for.
fn cut(mut value: String) -> String {
    if let Some((end, _)) = value.char_indices().nth(CHARACTERS_SHOWN_MAX) {
        value.truncate(end);
        value.push('…');
    }
    value
}

/// The text of a file or of standard input, without a line end at its end.
fn read(path: Option<&Path>) -> Result<SecretText, Failure> {
    let from = path.map_or_else(
        || "standard input".to_owned(),
        |path| path.display().to_string(),
    );
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| Failure::Local {
        what: format!("no value can be read from {from}"),
        source,
    };
    // One byte more than is allowed, and a line end: what is cut there is too long whatever follows.
    let most = VARIABLE_BYTES_MAX as u64 + 3;
    let mut text = Zeroizing::new(String::with_capacity(VARIABLE_BYTES_MAX + 3));
    match path {
        Some(path) => {
            std::fs::File::open(path).and_then(|file| file.take(most).read_to_string(&mut text))
        }
        None => std::io::stdin().lock().take(most).read_to_string(&mut text),
    }
    .map_err(|error| failed(error.into()))?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    if text.len() > VARIABLE_BYTES_MAX {
        let why = format!("it is longer than a value may be: {VARIABLE_BYTES_MAX} bytes");
        return Err(failed(why.into()));
    }
    // The text moves into the secret, which overwrites it in the end.
    Ok(std::mem::take(&mut *text).into())
}
