//! `littoral usage`: what a tenant uses, beside its limits.

use edge_config::TenantName;

use super::context::Context;
use super::failure::Failure;
use super::output::{facts, table};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The tenant
    tenant: TenantName,
}

pub(super) async fn run(context: &Context, arguments: Arguments) -> Result<(), Failure> {
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
