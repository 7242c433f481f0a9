//! `littoral tenant`: make, show, change and remove tenants.

use clap::Subcommand;
use edge_config::{HostPattern, TenantName};
use serde_json::json;

use super::context::{Context, all};
use super::failure::Failure;
use super::limits;
use super::output::{date, facts, table};
use crate::view::{Precondition, Tenant, TenantWrite};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a tenant; refused where it is there already
    Create {
        /// Its name
        tenant: TenantName,
        #[command(flatten)]
        settings: Settings,
        /// Make it suspended: no uploads, no requests
        #[arg(long)]
        suspended: bool,
    },
    /// List tenants
    List,
    /// Show one tenant
    Show {
        /// Its name
        tenant: TenantName,
    },
    /// Change what is named; the rest stays as it is
    Set {
        /// Its name
        tenant: TenantName,
        #[command(flatten)]
        settings: Settings,
        /// Any hostname that no other tenant holds
        #[arg(long, conflicts_with = "hosts")]
        any_host: bool,
        /// Suspend it, or lift that
        #[arg(long, value_name = "BOOL")]
        suspended: Option<bool>,
    },
    /// Remove a tenant with everything it has
    Delete {
        /// Its name
        tenant: TenantName,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct Settings {
    /// Set a limit, for instance `instance_memory_mib_max=64`; `name=` returns to the node's default; may be repeated
    #[arg(long = "limit", value_name = "NAME=VALUE")]
    limits: Vec<String>,
    /// A hostname, exact or `*.wildcard`, that the tenant may route; may be repeated; replaces those set before
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<HostPattern>,
}

pub(super) async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    let client = context.client()?;
    match command {
        Command::Create {
            tenant,
            settings,
            suspended,
        } => {
            let mut write = TenantWrite {
                hosts: settings.hosts,
                suspended,
                ..TenantWrite::default()
            };
            limits::apply(&mut write.limits, &settings.limits)?;
            let put = client
                .put_tenant(&tenant, &write, Precondition::Absent)
                .await?;
            context.show(&put.resource.value, || text(&put.resource.value))
        }
        Command::List => {
            let tenants = all(usize::MAX, async |page| client.tenants(&page).await).await?;
            context.show(&tenants, || {
                let rows: Vec<_> = tenants
                    .iter()
                    .map(|tenant| {
                        [
                            tenant.name.to_string(),
                            date(tenant.created_at),
                            hosts(tenant),
                            yes_no(tenant.suspended),
                        ]
                    })
                    .collect();
                table(["TENANT", "CREATED", "HOSTS", "SUSPENDED"], &rows)
            })
        }
        Command::Show { tenant } => {
            let found = client.tenant(&tenant).await?;
            context.show(&found.value, || text(&found.value))
        }
        Command::Set {
            tenant,
            settings,
            any_host,
            suspended,
        } => {
            let before = client.tenant(&tenant).await?;
            let mut write = TenantWrite {
                limits: before.value.limits,
                hosts: before.value.hosts,
                suspended: suspended.unwrap_or(before.value.suspended),
            };
            limits::apply(&mut write.limits, &settings.limits)?;
            if any_host || !settings.hosts.is_empty() {
                write.hosts = settings.hosts;
            }
            // What someone else changed meanwhile is not undone by accident.
            let put = client
                .put_tenant(&tenant, &write, Precondition::Revision(before.revision))
                .await?;
            context.show(&put.resource.value, || text(&put.resource.value))
        }
        Command::Delete { tenant } => {
            client.delete_tenant(&tenant, Precondition::None).await?;
            context.show(&json!({ "deleted": tenant }), || {
                format!("tenant {tenant} is gone\n")
            })
        }
    }
}

fn text(tenant: &Tenant) -> String {
    let mut text = facts(&[
        ("tenant", tenant.name.to_string()),
        ("created", date(tenant.created_at)),
        ("hosts", hosts(tenant)),
        ("suspended", yes_no(tenant.suspended)),
    ]);
    let own: Vec<_> = tenant.limits.rows().map(|(row, _)| row.name).collect();
    let rows: Vec<_> = tenant
        .effective_limits
        .rows()
        .map(|(row, value)| {
            let origin = if own.contains(&row.name) {
                "tenant"
            } else {
                "node"
            };
            [
                row.name.to_owned(),
                value.to_string(),
                row.unit.to_owned(),
                origin.to_owned(),
            ]
        })
        .collect();
    text.push('\n');
    text.push_str(&table(["LIMIT", "VALUE", "UNIT", "SET BY"], &rows));
    text
}

fn hosts(tenant: &Tenant) -> String {
    if tenant.hosts.is_empty() {
        return "any".to_owned();
    }
    let hosts: Vec<_> = tenant.hosts.iter().map(ToString::to_string).collect();
    hosts.join(" ")
}

fn yes_no(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}
