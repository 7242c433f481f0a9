//! `littoral route`: hostname and path to module.

use clap::Subcommand;
use edge_config::{ModuleName, RouteId, TenantName};
use serde_json::json;

use super::context::{Context, all};
use super::failure::Failure;
use super::output::{facts, table};
use crate::view::{Precondition, Route, RouteWrite, Written};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Set a route
    Set {
        /// The tenant
        #[arg(long)]
        tenant: TenantName,
        /// Host and path, for instance `hello.localhost/` or `*.acme.test/api`
        route: RouteId,
        /// The module that answers
        #[arg(long)]
        module: ModuleName,
        /// A kept version to pin; absent follows the module's active one
        #[arg(long)]
        version: Option<u64>,
        /// Say what would happen and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// List a tenant's routes
    List {
        /// The tenant
        #[arg(long)]
        tenant: TenantName,
    },
    /// Show one route
    Show {
        /// The tenant
        #[arg(long)]
        tenant: TenantName,
        /// Host and path
        route: RouteId,
    },
    /// Remove a route
    Delete {
        /// The tenant
        #[arg(long)]
        tenant: TenantName,
        /// Host and path
        route: RouteId,
    },
}

pub(super) async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    let client = context.client()?;
    match command {
        Command::Set {
            tenant,
            route,
            module,
            version,
            dry_run,
        } => {
            let write = RouteWrite { module, version };
            if dry_run {
                let answer = client
                    .put_route_dry_run(&tenant, &route, &write, Precondition::None)
                    .await?;
                return context.show(&answer, || {
                    let would = match answer.would {
                        Written::Created => "be made",
                        Written::Updated => "be changed",
                        Written::Unchanged => "stay as it is",
                    };
                    format!("the route would {would}\n{}", text(&answer.route))
                });
            }
            let put = client
                .put_route(&tenant, &route, &write, Precondition::None)
                .await?;
            context.show(&put.resource.value, || text(&put.resource.value))
        }
        Command::List { tenant } => {
            let routes = all(usize::MAX, async |page| client.routes(&tenant, &page).await).await?;
            context.show(&routes, || {
                let rows: Vec<_> = routes
                    .iter()
                    .map(|route| {
                        [
                            route.id.to_string(),
                            route.module.to_string(),
                            pinned(route),
                            route.serves_version.to_string(),
                        ]
                    })
                    .collect();
                table(["ROUTE", "MODULE", "PINNED", "SERVES"], &rows)
            })
        }
        Command::Show { tenant, route } => {
            let found = client.route(&tenant, &route).await?;
            context.show(&found.value, || text(&found.value))
        }
        Command::Delete { tenant, route } => {
            client
                .delete_route(&tenant, &route, Precondition::None)
                .await?;
            context.show(&json!({ "deleted": route }), || {
                format!("route {route} is gone\n")
            })
        }
    }
}

fn text(route: &Route) -> String {
    facts(&[
        ("route", route.id.to_string()),
        ("module", route.module.to_string()),
        ("pinned", pinned(route)),
        ("serves version", route.serves_version.to_string()),
    ])
}

fn pinned(route: &Route) -> String {
    route
        .version
        .map_or_else(|| "no".to_owned(), |version| version.to_string())
}
