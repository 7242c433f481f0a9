//! All that a tenant has, at once: for whoever compares many tenants with what they should be.

use edge_config::{Digest, HostPattern, LimitOverrides, ModuleName, RouteId, TenantName};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Grants, InstanceUse, PublisherKey, Variable};

/// A tenant with what it has, without certificates and what guests keep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Holding {
    /// The tenant.
    pub tenant: TenantName,
    /// The limits that were set for it.
    pub limits: LimitOverrides,
    /// The hostnames that it may route; empty allows any that no other tenant holds.
    pub hosts: Vec<HostPattern>,
    /// Whether it is suspended.
    pub suspended: bool,
    /// The publishers that it trusts, in order of id.
    pub keys: Vec<PublisherKey>,
    /// Its modules, in order of name.
    pub modules: Vec<HeldModule>,
    /// Its routes, in order.
    pub routes: Vec<HeldRoute>,
    /// Its variables, those of its modules among them; secrets without their values.
    pub variables: Vec<Variable>,
}

/// A module without its versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HeldModule {
    /// Its name.
    pub name: ModuleName,
    /// The version that routes without a pinned one serve.
    pub active_version: u64,
    /// The highest version ever accepted.
    pub highest_version: u64,
    /// The digest of the active version's component.
    pub digest: Digest,
    /// How its instances are used.
    pub instances: InstanceUse,
    /// What its guests may do beyond answering requests.
    pub grants: Grants,
}

/// A route and where it leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HeldRoute {
    /// `host/path`.
    pub id: RouteId,
    /// The module that answers.
    pub module: ModuleName,
    /// The version, where one is pinned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
}

impl Holding {
    /// About how many bytes it comes to, for the bound on a page.
    #[must_use]
    pub fn weight(&self) -> usize {
        const ENTRY: usize = 512;
        let values = self.variables.iter().filter_map(|one| one.value.as_ref());
        let environments = self.modules.iter().flat_map(|one| &one.grants.environment);
        let entries = self.keys.len() + self.modules.len() + self.routes.len();
        (1 + entries + self.variables.len()) * ENTRY
            + self.hosts.len() * 256
            + values.map(String::len).sum::<usize>()
            + environments
                .map(|(name, value)| name.len() + value.len())
                .sum::<usize>()
    }
}
