//! `littoral usage`: what a tenant uses, beside its limits.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use edge_config::TenantName;
use serde::Serialize;

use super::context::Context;
use super::failure::Failure;
use super::output::{date, facts, table};
use crate::receipt;
use crate::view::{PublicJwk, Receipt, ReceiptClaims};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The tenant
    tenant: TenantName,
    /// Have the node sign what was used in all: keep the JSON of it for `--since`
    #[arg(long)]
    receipt: bool,
    /// Show what was used since an earlier receipt, from the file that `--receipt --output json` printed to
    #[arg(long, value_name = "FILE", conflicts_with = "receipt")]
    since: Option<PathBuf>,
}

/// The largest file with a receipt that is read, in bytes.
const RECEIPT_BYTES_MAX: u64 = 64 * 1024;

/// What was used between two receipts, for programs.
#[derive(Serialize)]
struct Between {
    since: u64,
    until: u64,
    requests: u64,
    request_body_bytes: u64,
    response_body_bytes: u64,
    cpu_ms: u64,
    memory_mib_s: u64,
    /// The later receipt, to keep for the next time.
    receipt: Receipt,
}

async fn receipt(context: &Context, tenant: &TenantName) -> Result<(), Failure> {
    let given = context.client()?.receipt(tenant).await?;
    verified(&given, &given.key)?;
    let usage = &given.usage;
    context.show(&given, || {
        let mut text = facts(&[
            ("receipt", format!("{} of {}", usage.serial, usage.iss)),
            ("from", date(usage.since)),
            ("until", date(usage.iat)),
        ]);
        text.push_str(&used(usage));
        text.push_str(&format!("\n{}\n", given.receipt));
        text
    })
}

async fn since(context: &Context, tenant: &TenantName, file: &Path) -> Result<(), Failure> {
    let wrong = |source: Box<dyn std::error::Error + Send + Sync>| {
        Failure::local(
            format!("{} holds no receipt to count from", file.display()),
            source,
        )
    };
    let mut text = String::new();
    File::open(file)
        .and_then(|file| file.take(RECEIPT_BYTES_MAX).read_to_string(&mut text))
        .map_err(|error| wrong(error.into()))?;
    let earlier: Receipt = serde_json::from_str(&text).map_err(|error| wrong(error.into()))?;
    if earlier.usage.tenant != *tenant {
        let why = format!("it is of tenant {}, not {tenant}", earlier.usage.tenant);
        return Err(wrong(why.into()));
    }
    let later = context.client()?.receipt(tenant).await?;
    // Both by the key that the earlier one came with: a node that has another is not the one that gave it.
    let before = verified(&earlier, &earlier.key)?;
    let after = verified(&later, &earlier.key)?;
    if after.since != before.since || after.serial <= before.serial {
        let why = "the tenant was made anew since, or the node restored from an older backup";
        return Err(wrong(why.into()));
    }
    let difference = ReceiptClaims {
        requests: after.requests.saturating_sub(before.requests),
        request_body_bytes: after
            .request_body_bytes
            .saturating_sub(before.request_body_bytes),
        response_body_bytes: after
            .response_body_bytes
            .saturating_sub(before.response_body_bytes),
        cpu_ms: after.cpu_ms.saturating_sub(before.cpu_ms),
        memory_mib_s: after.memory_mib_s.saturating_sub(before.memory_mib_s),
        ..after
    };
    let between = Between {
        since: before.iat,
        until: difference.iat,
        requests: difference.requests,
        request_body_bytes: difference.request_body_bytes,
        response_body_bytes: difference.response_body_bytes,
        cpu_ms: difference.cpu_ms,
        memory_mib_s: difference.memory_mib_s,
        receipt: later,
    };
    context.show(&between, || {
        let mut text = facts(&[
            ("from", date(between.since)),
            ("until", date(between.until)),
        ]);
        text.push_str(&used(&difference));
        text
    })
}

/// What a receipt says, once its signature has been looked at.
fn verified(given: &Receipt, key: &PublicJwk) -> Result<ReceiptClaims, Failure> {
    receipt::verify(&given.receipt, key)
        .map_err(|error| Failure::local("the receipt proves nothing", error))
}

fn used(usage: &ReceiptClaims) -> String {
    facts(&[
        ("requests", usage.requests.to_string()),
        ("request bytes", usage.request_body_bytes.to_string()),
        ("response bytes", usage.response_body_bytes.to_string()),
        ("cpu", format!("{} ms", usage.cpu_ms)),
        ("memory", format!("{} MiB s", usage.memory_mib_s)),
    ])
}

pub(super) async fn run(context: &Context, arguments: Arguments) -> Result<(), Failure> {
    if arguments.receipt {
        return receipt(context, &arguments.tenant).await;
    }
    if let Some(file) = &arguments.since {
        return since(context, &arguments.tenant, file).await;
    }
    let usage = context.client()?.usage(&arguments.tenant).await?;
    context.show(&usage, || {
        let mut text = facts(&[
            ("requests", usage.requests.to_string()),
            ("requests under way", usage.concurrent_requests.to_string()),
            ("requests waiting", usage.waiting_requests.to_string()),
            ("connections", usage.connections.to_string()),
            (
                "quarantined for",
                format!("{} ms", usage.quarantine_left_ms),
            ),
            ("request bytes", usage.request_body_bytes.to_string()),
            ("response bytes", usage.response_body_bytes.to_string()),
            ("cpu", format!("{} ms", usage.cpu_us / 1000)),
            ("memory now", format!("{} KiB", usage.memory_bytes / 1024)),
            ("modules", usage.modules.to_string()),
            ("routes", usage.routes.to_string()),
            ("publisher keys", usage.publisher_keys.to_string()),
            ("variables", usage.variables.to_string()),
            ("keys in key-value stores", usage.key_value_keys.to_string()),
            (
                "bytes in key-value stores",
                usage.key_value_bytes.to_string(),
            ),
            ("SQL databases", usage.databases.to_string()),
            ("bytes in SQL databases", usage.database_bytes.to_string()),
            ("certificates", usage.certificates.to_string()),
            ("component bytes", usage.component_bytes.to_string()),
            ("log bytes dropped", usage.log_bytes_dropped.to_string()),
        ]);
        let rows: Vec<_> = usage
            .refusals
            .iter()
            .map(|(reason, count)| [reason.clone(), count.to_string()])
            .collect();
        if !rows.is_empty() {
            text.push('\n');
            text.push_str(&table(["REFUSED FOR", "TIMES"], &rows));
        }
        let rows: Vec<_> = usage
            .limits
            .rows()
            .map(|(row, value)| [row.name.to_owned(), value.to_string(), row.unit.to_owned()])
            .collect();
        text.push('\n');
        text.push_str(&table(["LIMIT", "VALUE", "UNIT"], &rows));
        text
    })
}
