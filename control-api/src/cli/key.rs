//! `littoral key`: whose signatures a tenant trusts.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use edge_config::{KeyId, TenantName};
use serde_json::json;

use super::context::{Context, all};
use super::failure::Failure;
use super::output::{date, facts, table};
use crate::keypair::PrivateKey;
use crate::view::{Precondition, PublicJwk};

/// Largest public key file that is read, in bytes.
const FILE_BYTES_MAX: usize = 16 * 1024;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Trust a publisher's key
    Add {
        /// The tenant
        #[arg(long)]
        tenant: TenantName,
        /// The key: a public JWK, or the private key's PEM file, of which only the public half is sent
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Under which id; the key's own where absent
        #[arg(long, allow_hyphen_values = true)]
        kid: Option<KeyId>,
    },
    /// List the keys a tenant trusts
    List {
        /// The tenant
        #[arg(long)]
        tenant: TenantName,
    },
    /// Show one key
    Show {
        /// The tenant
        #[arg(long)]
        tenant: TenantName,
        /// The key's id
        // A thumbprint may begin with a hyphen.
        #[arg(allow_hyphen_values = true)]
        kid: KeyId,
    },
    /// Stop trusting a key; what it signed and was accepted stays
    Remove {
        /// The tenant
        #[arg(long)]
        tenant: TenantName,
        /// The key's id
        // A thumbprint may begin with a hyphen.
        #[arg(allow_hyphen_values = true)]
        kid: KeyId,
    },
}

pub(super) async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    let client = context.client()?;
    match command {
        Command::Add { tenant, file, kid } => {
            let mut jwk = read(&file)?;
            let kid = match kid {
                Some(kid) => {
                    jwk.kid = None;
                    kid
                }
                None => jwk.id().parse().map_err(|error| {
                    Failure::local(format!("{} has no usable id", file.display()), error)
                })?,
            };
            let put = client
                .put_key(&tenant, &kid, &jwk, Precondition::None)
                .await?;
            context.show(&put.resource.value, || {
                format!("tenant {tenant} trusts key {kid}\n")
            })
        }
        Command::List { tenant } => {
            let keys = all(usize::MAX, async |page| client.keys(&tenant, &page).await).await?;
            context.show(&keys, || {
                let rows: Vec<_> = keys
                    .iter()
                    .map(|key| [key.kid.to_string(), date(key.added_at)])
                    .collect();
                table(["KEY", "ADDED"], &rows)
            })
        }
        Command::Show { tenant, kid } => {
            let found = client.key(&tenant, &kid).await?;
            context.show(&found.value, || {
                facts(&[
                    ("key", found.value.kid.to_string()),
                    ("public key", found.value.jwk.x.clone()),
                    ("added", date(found.value.added_at)),
                ])
            })
        }
        Command::Remove { tenant, kid } => {
            client.delete_key(&tenant, &kid, Precondition::None).await?;
            context.show(&json!({ "deleted": kid }), || {
                format!("tenant {tenant} no longer trusts key {kid}\n")
            })
        }
    }
}

/// The same, with what is wrong as a text.
pub(super) fn read_public(path: &Path) -> Result<PublicJwk, String> {
    read(path).map_err(|failure| failure.chain())
}

/// The public key in a file: a JWK, or the public half of a private key.
fn read(path: &Path) -> Result<PublicJwk, Failure> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| Failure::Local {
        what: format!("the key file {} cannot be used", path.display()),
        source,
    };
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.into()))?;
    if text.len() > FILE_BYTES_MAX {
        return Err(failed("it is too large to hold a key".into()));
    }
    if text.contains("-----BEGIN") {
        return Ok(PrivateKey::read(path)?.public());
    }
    serde_json::from_str(&text).map_err(|error| failed(error.into()))
}
