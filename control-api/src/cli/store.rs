//! `littoral store`: what a tenant's guests keep in key-value stores.

use std::io::Read as _;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Subcommand;
use edge_config::{StoreName, TenantName};
use serde_json::json;

use super::context::{Context, all};
use super::failure::Failure;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List a store's keys, one a line
    Keys {
        /// The tenant
        #[arg(long)]
        tenant: TenantName,
        /// The store; most programs use `default`
        #[arg(long, default_value = "default")]
        store: StoreName,
    },
    /// Write a key's value, byte for byte where the output is text, as base64 where it is JSON
    Get {
        /// The tenant
        #[arg(long)]
        tenant: TenantName,
        /// The store; most programs use `default`
        #[arg(long, default_value = "default")]
        store: StoreName,
        /// The key
        key: String,
    },
    /// Set a key
    Set {
        /// The tenant
        #[arg(long)]
        tenant: TenantName,
        /// The store; most programs use `default`
        #[arg(long, default_value = "default")]
        store: StoreName,
        /// The key
        key: String,
        /// The value; from a file or standard input where absent
        value: Option<String>,
        /// A file that holds the value
        #[arg(long, conflicts_with = "value")]
        file: Option<PathBuf>,
    },
    /// Remove a key
    Delete {
        /// The tenant
        #[arg(long)]
        tenant: TenantName,
        /// The store; most programs use `default`
        #[arg(long, default_value = "default")]
        store: StoreName,
        /// The key
        key: String,
    },
}

pub(super) async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    let client = context.client()?;
    match command {
        Command::Keys { tenant, store } => {
            let keys = all(usize::MAX, async |page| {
                client.store_keys(&tenant, &store, &page).await
            })
            .await?;
            context.show(&keys, || {
                keys.iter().map(|key| format!("{}\n", key.key)).collect()
            })
        }
        Command::Get { tenant, store, key } => {
            let value = client.store_value(&tenant, &store, &key).await?;
            if context.is_text() {
                return context.raw(&value);
            }
            let value = json!({ "key": key, "value_base64": STANDARD.encode(value) });
            context.show(&value, String::new)
        }
        Command::Set {
            tenant,
            store,
            key,
            value,
            file,
        } => {
            let value = match (value, file) {
                (Some(value), _) => value.into_bytes(),
                (None, Some(file)) => std::fs::read(&file).map_err(|error| {
                    Failure::local(format!("{} cannot be read", file.display()), error)
                })?,
                (None, None) => {
                    let mut value = Vec::new();
                    std::io::stdin()
                        .lock()
                        .read_to_end(&mut value)
                        .map_err(|error| Failure::local("standard input cannot be read", error))?;
                    value
                }
            };
            let bytes = value.len();
            client
                .put_store_value(&tenant, &store, &key, value.into())
                .await?;
            context.show(&json!({ "set": key, "bytes": bytes }), || {
                format!("{key} has {bytes} bytes\n")
            })
        }
        Command::Delete { tenant, store, key } => {
            client.delete_store_value(&tenant, &store, &key).await?;
            context.show(&json!({ "deleted": key }), || format!("{key} is gone\n"))
        }
    }
}
