//! `littoral module`: modules, their versions, uploads under way.

use clap::Subcommand;
use edge_config::{ModuleName, TenantName};
use serde_json::json;

use super::context::{Context, all};
use super::failure::Failure;
use super::output::{date, facts, table};
use crate::view::{JobState, ModuleVersion, Precondition};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List a tenant's modules
    List {
        /// The tenant
        #[arg(long)]
        tenant: TenantName,
    },
    /// Show a module with the versions it keeps, or one version
    Show {
        /// The tenant
        #[arg(long)]
        tenant: TenantName,
        /// The module
        module: ModuleName,
        /// Only this version
        #[arg(long)]
        version: Option<u64>,
    },
    /// Remove a module with its versions; refused while a route serves it
    Delete {
        /// The tenant
        #[arg(long)]
        tenant: TenantName,
        /// The module
        module: ModuleName,
    },
    /// Show where an upload stands
    Job {
        /// The tenant
        #[arg(long)]
        tenant: TenantName,
        /// The job's id
        job: String,
    },
}

pub(super) async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    let client = context.client()?;
    match command {
        Command::List { tenant } => {
            let modules = all(usize::MAX, async |page| {
                client.modules(&tenant, &page).await
            })
            .await?;
            context.show(&modules, || {
                let rows: Vec<_> = modules
                    .iter()
                    .map(|module| {
                        [
                            module.name.to_string(),
                            module.active_version.to_string(),
                            module.versions.len().to_string(),
                        ]
                    })
                    .collect();
                table(["MODULE", "ACTIVE", "KEPT VERSIONS"], &rows)
            })
        }
        Command::Show {
            tenant,
            module,
            version: None,
        } => {
            let found = client.module(&tenant, &module).await?;
            context.show(&found.value, || {
                let rows: Vec<_> = found
                    .value
                    .versions
                    .iter()
                    .map(|version| {
                        let active = version.version == found.value.active_version;
                        [
                            version.version.to_string(),
                            if active { "active" } else { "" }.to_owned(),
                            date(version.accepted_at),
                            version.component_bytes.to_string(),
                            version.kid.to_string(),
                        ]
                    })
                    .collect();
                table(["VERSION", "", "ACCEPTED", "BYTES", "KEY"], &rows)
            })
        }
        Command::Show {
            tenant,
            module,
            version: Some(version),
        } => {
            let found = client.module_version(&tenant, &module, version).await?;
            context.show(&found.value, || version_text(&found.value))
        }
        Command::Delete { tenant, module } => {
            client
                .delete_module(&tenant, &module, Precondition::None)
                .await?;
            context.show(&json!({ "deleted": module }), || {
                format!("module {module} is gone\n")
            })
        }
        Command::Job { tenant, job } => {
            let job = client.job(&tenant, &job).await?;
            context.show(&job, || {
                let state = match &job.state {
                    JobState::Queued { position } => format!("queued, {position} ahead"),
                    JobState::Compiling { running_ms } => format!("compiling for {running_ms} ms"),
                    JobState::Done { .. } => "done".to_owned(),
                    JobState::Failed { problem } => {
                        format!("failed: {}: {}", problem.title, problem.detail)
                    }
                };
                facts(&[
                    ("job", job.id.clone()),
                    ("module", job.module.to_string()),
                    ("version", job.version.to_string()),
                    ("state", state),
                ])
            })
        }
    }
}

fn version_text(version: &ModuleVersion) -> String {
    let imports: Vec<_> = version
        .inspection
        .imports
        .iter()
        .map(|import| import.name.as_str())
        .collect();
    facts(&[
        ("version", version.version.to_string()),
        ("digest", version.digest.to_string()),
        ("bytes", version.component_bytes.to_string()),
        ("key", version.kid.to_string()),
        ("accepted", date(version.accepted_at)),
        ("serves", version.world.clone()),
        ("imports", imports.join(" ")),
        (
            "memory declared",
            format!("{} bytes", version.inspection.memory_initial_bytes),
        ),
    ])
}
