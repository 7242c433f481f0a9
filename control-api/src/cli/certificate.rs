//! `littoral certificate`: what hostnames are served with over TLS.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use edge_config::{CertificateName, TenantName};
use serde_json::json;
use zeroize::Zeroizing;

use super::context::{Context, all};
use super::failure::Failure;
use super::output::{date, facts, table};
use crate::view::{Certificate, CertificateWrite, Precondition};

/// Largest PEM file that is read, in bytes; the node says what it takes.
const FILE_BYTES_MAX: usize = 128 * 1024;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Serve hostnames with a chain and its private key, in the place of the certificate of that name
    Put {
        /// The tenant
        #[arg(long)]
        tenant: TenantName,
        /// The chain in PEM, the certificate itself first
        #[arg(long, value_name = "FILE")]
        chain: PathBuf,
        /// The private key in PEM, without a passphrase
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// The certificate's name
        certificate: CertificateName,
    },
    /// List a tenant's certificates
    List {
        /// The tenant
        #[arg(long)]
        tenant: TenantName,
    },
    /// Show one certificate
    Show {
        /// The tenant
        #[arg(long)]
        tenant: TenantName,
        /// The certificate's name
        certificate: CertificateName,
    },
    /// Forget a certificate and its private key; open connections go on
    Delete {
        /// The tenant
        #[arg(long)]
        tenant: TenantName,
        /// The certificate's name
        certificate: CertificateName,
    },
}

pub(super) async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    let client = context.client()?;
    match command {
        Command::Put {
            tenant,
            chain,
            key,
            certificate,
        } => {
            let write = CertificateWrite {
                chain: read(&chain)?.to_string(),
                // The text moves into the secret, which overwrites it in the end.
                key: std::mem::take(&mut *read(&key)?).into(),
            };
            let put = client
                .put_certificate(&tenant, &certificate, &write, Precondition::None)
                .await?;
            let put = put.resource.value;
            context.show(&put, || {
                let names = names(&put);
                let until = date(put.not_after);
                format!(
                    "certificate {certificate} of tenant {tenant} serves {names} until {until}\n"
                )
            })
        }
        Command::List { tenant } => {
            let certificates = all(usize::MAX, async |page| {
                client.certificates(&tenant, &page).await
            })
            .await?;
            context.show(&certificates, || {
                let rows: Vec<_> = certificates
                    .iter()
                    .map(|one| [one.name.to_string(), names(one), date(one.not_after)])
                    .collect();
                table(["CERTIFICATE", "NAMES", "UNTIL"], &rows)
            })
        }
        Command::Show {
            tenant,
            certificate,
        } => {
            let found = client.certificate(&tenant, &certificate).await?.value;
            context.show(&found, || {
                let routes: Vec<_> = found.routes.iter().map(ToString::to_string).collect();
                facts(&[
                    ("certificate", found.name.to_string()),
                    ("names", names(&found)),
                    ("issuer", found.issuer.clone()),
                    ("serial", found.serial.clone()),
                    ("valid from", date(found.not_before)),
                    ("valid until", date(found.not_after)),
                    ("digest", found.digest.to_string()),
                    ("key", found.key_algorithm.clone()),
                    ("chain", found.chain_length.to_string()),
                    ("routes", routes.join(", ")),
                    ("added", date(found.added_at)),
                ])
            })
        }
        Command::Delete {
            tenant,
            certificate,
        } => {
            client
                .delete_certificate(&tenant, &certificate, Precondition::None)
                .await?;
            context.show(&json!({ "deleted": certificate }), || {
                format!("certificate {certificate} of tenant {tenant} is gone\n")
            })
        }
    }
}

fn names(certificate: &Certificate) -> String {
    let names: Vec<_> = certificate.names.iter().map(|name| name.as_str()).collect();
    names.join(", ")
}

fn read(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| Failure::Local {
        what: format!("{} cannot be used", path.display()),
        source,
    };
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.into()))?;
    let text = Zeroizing::new(text);
    if text.len() > FILE_BYTES_MAX {
        return Err(failed(
            "it is too large to hold a certificate or key".into(),
        ));
    }
    Ok(text)
}
