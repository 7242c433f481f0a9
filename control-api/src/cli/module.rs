//! `littoral module`: modules, their versions, how their instances are used, uploads under way.

use clap::Subcommand;
use edge_config::{ModuleName, TenantName};
use serde_json::json;

use super::context::{Context, all};
use super::failure::Failure;
use super::grants::{self, AskedGrants};
use super::output::{date, facts, table};
use crate::view::{InstanceUse, JobState, ModuleVersion, Precondition};

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
    /// Show how a module's instances are used, or say so: all of it, what is left out returns to its default
    Instances {
        /// The tenant
        #[arg(long)]
        tenant: TenantName,
        /// The module
        module: ModuleName,
        #[command(flatten)]
        asked: AskedUse,
    },
    /// Show what a module's guests may do beyond answering requests, or say so: all of it, what is left out is taken away
    Grants {
        /// The tenant
        #[arg(long)]
        tenant: TenantName,
        /// The module
        module: ModuleName,
        #[command(flatten)]
        asked: AskedGrants,
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

#[derive(Debug, clap::Args)]
pub(super) struct AskedUse {
    /// A new instance for every request
    #[arg(long, conflicts_with_all = ["reuse", "idle_ms", "concurrency", "memory_mib"])]
    fresh: bool,
    /// Instances that serve several requests, at most so many each (128 where not said); what a request leaves in memory
    /// is there for the next one of this module
    #[arg(long, num_args = 0..=1, value_name = "REQUESTS")]
    reuse: Option<Option<u64>>,
    /// Drop an instance that has waited this long for a request, in milliseconds
    #[arg(long = "idle-ms", requires = "reuse", value_name = "MS")]
    idle_ms: Option<u64>,
    /// Requests that one instance serves at once; more than 1 for `wasi:http/service@0.3` only
    #[arg(long, requires = "reuse", value_name = "REQUESTS")]
    concurrency: Option<u64>,
    /// Use an instance no more whose memories hold more than this after a request, in MiB
    #[arg(long = "memory-mib", requires = "reuse", value_name = "MIB")]
    memory_mib: Option<u64>,
}

impl AskedUse {
    /// What is to be set; `None` where it is only to be shown.
    fn write(&self) -> Option<InstanceUse> {
        if self.fresh {
            return Some(InstanceUse::default());
        }
        let asked = self.reuse?;
        let mut write = InstanceUse::reuse();
        if let InstanceUse::Reuse {
            requests_max,
            idle_ms_max,
            concurrency_max,
            memory_mib_max,
        } = &mut write
        {
            *requests_max = asked.unwrap_or(*requests_max);
            *idle_ms_max = self.idle_ms.unwrap_or(*idle_ms_max);
            *concurrency_max = self.concurrency.unwrap_or(*concurrency_max);
            *memory_mib_max = self.memory_mib.unwrap_or(*memory_mib_max);
        }
        Some(write)
    }
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
                            module.instances.mode().to_owned(),
                        ]
                    })
                    .collect();
                table(["MODULE", "ACTIVE", "KEPT VERSIONS", "INSTANCES"], &rows)
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
        Command::Instances {
            tenant,
            module,
            asked,
        } => {
            let used = match asked.write() {
                None => client.module_instances(&tenant, &module).await?.value,
                Some(write) => {
                    client
                        .put_module_instances(&tenant, &module, &write, Precondition::None)
                        .await?
                        .resource
                        .value
                }
            };
            context.show(&used, || use_text(&used))
        }
        Command::Grants {
            tenant,
            module,
            asked,
        } => {
            let granted = match asked.write()? {
                None => client.module_grants(&tenant, &module).await?.value,
                Some(write) => {
                    client
                        .put_module_grants(&tenant, &module, &write, Precondition::None)
                        .await?
                        .resource
                        .value
                }
            };
            context.show(&granted, || grants::text(&granted))
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

fn use_text(used: &InstanceUse) -> String {
    let mode = ("instances", used.mode().to_owned());
    match used {
        InstanceUse::Fresh {} => facts(&[mode]),
        InstanceUse::Reuse {
            requests_max,
            idle_ms_max,
            concurrency_max,
            memory_mib_max,
        } => facts(&[
            mode,
            ("requests each, at most", requests_max.to_string()),
            ("requests at once, at most", concurrency_max.to_string()),
            ("waiting, at most", format!("{idle_ms_max} ms")),
            (
                "memory after a request, at most",
                format!("{memory_mib_max} MiB"),
            ),
        ]),
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
