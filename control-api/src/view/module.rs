//! Modules, their versions, uploads and the jobs they become.

use edge_config::{Digest, KeyId, ModuleName};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Grants, InstanceUse};

/// A tenant's named deployable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Module {
    /// Its name within the tenant.
    pub name: ModuleName,
    /// The version that routes without a pinned one serve.
    pub active_version: u64,
    /// The highest version ever accepted, kept even after deletion.
    pub highest_version: u64,
    /// How its instances are used.
    pub instances: InstanceUse,
    /// What its guests may do beyond answering requests.
    pub grants: Grants,
    /// The versions still kept, newest first.
    pub versions: Vec<ModuleVersion>,
}

/// One accepted version of a module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ModuleVersion {
    /// As the statement said.
    pub version: u64,
    /// The digest of the uploaded bytes.
    pub digest: Digest,
    /// Their length.
    pub component_bytes: u64,
    /// The publisher whose signature was accepted.
    pub kid: KeyId,
    /// When it was accepted, in seconds since 1970-01-01 UTC.
    pub accepted_at: u64,
    /// What it serves: `wasi:http/proxy@0.2`, `wasi:http/service@0.3`, or `wasi:cli/command@0.2` for a program.
    pub world: String,
    /// What inspection found.
    pub inspection: Inspection,
}

/// What a look into a component found, without running any of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Inspection {
    /// What the component imports, and whether it is granted.
    pub imports: Vec<Import>,
    /// What it exports, by name.
    pub exports: Vec<String>,
    /// The initial size of all its linear memories, in bytes.
    pub memory_initial_bytes: u64,
    /// The most they may grow to by their own declaration, in bytes; absent where one declares none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_maximum_bytes: Option<u64>,
    /// Core modules inside.
    pub core_modules: u32,
    /// Functions inside, over all core modules.
    pub functions: u32,
}

/// One import of a component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Import {
    /// For instance `wasi:http/types@0.2.4`.
    pub name: String,
    /// Whether this node offers it to this tenant.
    pub granted: bool,
    /// The member of the module's grants that it needs an entry in and that has none, in the answer to a dry run: until
    /// then each of its calls is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needs: Option<String>,
}

/// What an upload would do: the answer to `?dry_run=true`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UploadDryRun {
    /// Whether the same upload without `dry_run` would be accepted, as far as can be said without compiling.
    pub accepted: bool,
    /// Why not: the titles and details of the problems it would meet, in the order they are checked.
    pub problems: Vec<DryRunProblem>,
    /// The digest of the bytes.
    pub digest: Digest,
    /// Their length.
    pub component_bytes: u64,
    /// What it serves, where it serves anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub world: Option<String>,
    /// What inspection found.
    pub inspection: Inspection,
    /// The tenant's limit on one instance's memory, in bytes.
    pub instance_memory_bytes_max: u64,
    /// Whether the declared memory fits that limit.
    pub fits: bool,
    /// Whether an artifact for these bytes is already there, so that no compilation would be needed.
    pub artifact_ready: bool,
}

/// One problem of a dry run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DryRunProblem {
    /// The problem's `type`, as the real upload would give it.
    #[serde(rename = "type")]
    pub problem_type: String,
    /// What is wrong.
    pub detail: String,
}

/// An upload that is not finished yet, or was lately.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Job {
    /// Its id, unguessable.
    pub id: String,
    /// The module it is for.
    pub module: ModuleName,
    /// The version it would become.
    pub version: u64,
    /// Where it stands.
    #[serde(flatten)]
    pub state: JobState,
}

/// Where an upload stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum JobState {
    /// Waiting for the compiler; `position` jobs are ahead, the one being compiled included.
    Queued {
        /// 1 means next.
        position: u64,
    },
    /// Being inspected and compiled.
    Compiling {
        /// Milliseconds since it began.
        running_ms: u64,
    },
    /// Accepted and durable.
    Done {
        /// What became of it; `version` is the job's own member, beside this state.
        #[serde(rename = "module_version")]
        version: Box<ModuleVersion>,
        /// Whether this upload wrote anything.
        written: super::Written,
    },
    /// Refused; nothing was left behind.
    Failed {
        /// The problem that a synchronous upload would have answered.
        problem: Box<crate::error::Problem>,
    },
}
