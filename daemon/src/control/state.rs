//! The control state in memory: what the store holds, in domain types, with the indexes that rules need.
//!
//! Changed only by [`State::apply`], after the store has made the same edits durable.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;

use edge_config::{
    CertificateName, Digest, HostPattern, KeyId, LimitOverrides, Limits, ModuleName, PathPrefix,
    RouteId, TenantName, VariableId,
};
use litemap::LiteMap;
use serde::{Deserialize, Serialize};

use control_api::view::Grants;

use super::edit::Edit;
use super::grants;
use super::tls::CertificateFacts;
use super::variables::Variable;
use crate::artifact::inspect::Inspection;
use crate::link::signing::SigningKeyId;
use crate::link::{CertificateTarget, ModuleTarget, Reuse, TableChange, TenantLimits, World};

/// A thing with the number of the change that last wrote it.
#[derive(Debug, Clone)]
pub(super) struct Revised<T> {
    pub(super) revision: u64,
    pub(super) value: T,
}

/// Everything that is registered on this node.
#[derive(Debug, Default)]
pub(super) struct State {
    /// The last change.
    pub(super) seq: u64,
    pub(super) tenants: BTreeMap<TenantName, Box<Tenant>>,
    /// Who holds a hostname, for the rules; and how many of its routes stand on it.
    hosts: BTreeMap<HostPattern, (TenantName, usize)>,
    /// How many kept versions stand on a component.
    components: HashMap<Digest, usize>,
    /// Highest versions of modules that are gone, so that nothing older is ever accepted again.
    floors: BTreeMap<TenantName, BTreeMap<ModuleName, u64>>,
    /// The node's defaults, which tenants override.
    defaults: Arc<Limits>,
}

/// A tenant and all that is its own. Most have a few of each, and there may be ten thousand tenants: a node of a B-tree
/// has room for eleven, used or not.
#[derive(Debug, Clone)]
pub(super) struct Tenant {
    pub(super) settings: Revised<TenantSettings>,
    /// The node's defaults where the tenant has none of its own.
    pub(super) limits: Arc<Limits>,
    pub(super) keys: LiteMap<KeyId, Revised<PublisherKey>>,
    pub(super) modules: LiteMap<ModuleName, Revised<Module>>,
    pub(super) routes: LiteMap<RouteId, Revised<RouteTarget>>,
    pub(super) certificates: LiteMap<CertificateName, Revised<Certificate>>,
    pub(super) variables: LiteMap<VariableId, Revised<Variable>>,
}

/// What the operator set for a tenant.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TenantSettings {
    pub(super) created_at_s: u64,
    pub(super) overrides: LimitOverrides,
    pub(super) hosts: Vec<HostPattern>,
    pub(super) suspended: bool,
}

/// A trusted publisher's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PublisherKey {
    pub(super) public_key: [u8; 32],
    pub(super) added_at_s: u64,
}

/// A module with its kept versions, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Module {
    pub(super) active_version: u64,
    pub(super) highest_version: u64,
    /// How its instances are used again, as it was asked for; `None` makes a new one for every request.
    pub(super) reuse: Option<Reuse>,
    /// What its guests are granted; `None` is nothing.
    pub(super) grants: Option<Box<Grants>>,
    pub(super) versions: Vec<Version>,
}

/// One accepted version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) version: u64,
    pub(super) digest: Digest,
    pub(super) component_bytes: u64,
    pub(super) kid: KeyId,
    pub(super) accepted_at_s: u64,
    pub(super) statement: Box<str>,
    pub(super) world: World,
    /// [`VersionDetails`], encoded: wanted seldom, and too large to keep unfolded for every tenant.
    pub(super) details: Box<[u8]>,
}

/// What is asked of a version now and then.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct VersionDetails {
    /// What inspection found.
    pub(super) inspection: Inspection,
    /// The key that verified the statement, so that it can be verified again after the tenant stopped trusting it.
    pub(super) publisher_key: [u8; 32],
}

/// What a route serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RouteTarget {
    pub(super) module: ModuleName,
    pub(super) version: Option<u64>,
}

/// A certificate with its private key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Certificate {
    pub(super) facts: CertificateFacts,
    /// In DER, the certificate itself first.
    pub(super) chain: Box<[Vec<u8>]>,
    /// Encrypted.
    pub(super) sealed_key: Box<[u8]>,
    pub(super) added_at_s: u64,
    /// By which its key signs, best first: their numbers in TLS. None where the key cannot be read; it is not served then.
    pub(super) schemes: Vec<u16>,
}

impl Certificate {
    /// Whom to ask for signatures.
    pub(super) fn key_id(&self) -> SigningKeyId {
        SigningKeyId(*self.facts.digest.as_bytes())
    }

    /// Whether it is served as the other one is.
    pub(super) fn is_the_same(&self, other: &Self) -> bool {
        self.chain == other.chain && self.schemes == other.schemes
    }

    /// Whether a route's hostnames get it. A wildcard stands for one label in a certificate, and for any number in a
    /// route: of those, the ones with one label more do.
    pub(super) fn is_for(&self, host: &HostPattern) -> bool {
        let above = host.as_str().split_once('.').map(|(_, above)| above);
        self.facts
            .names
            .iter()
            .any(|name| name == host || name.is_wildcard() && above == Some(name.base()))
    }
}

impl Module {
    pub(super) fn version(&self, version: u64) -> Option<&Version> {
        self.versions.iter().find(|kept| kept.version == version)
    }

    /// How the instances of one of its versions are used again: those of 0.2 serve one request at a time, and a program
    /// serves one in all, whatever was asked for while another version was active.
    fn reuse_of(&self, version: &Version) -> Option<Reuse> {
        let reuse = self.reuse?;
        match version.world {
            World::Proxy02 => Some(Reuse {
                concurrency_max: 1,
                ..reuse
            }),
            World::Service03 => Some(reuse),
            World::Command02 => None,
        }
    }

    /// For messages: the kept versions, newest first.
    pub(super) fn kept(&self) -> String {
        let kept: Vec<_> = self
            .versions
            .iter()
            .rev()
            .map(|kept| kept.version.to_string())
            .collect();
        if kept.is_empty() {
            "none".to_owned()
        } else {
            kept.join(", ")
        }
    }
}

impl Tenant {
    fn new(settings: Revised<TenantSettings>, limits: Arc<Limits>) -> Self {
        Self {
            settings,
            limits,
            keys: LiteMap::new(),
            modules: LiteMap::new(),
            routes: LiteMap::new(),
            certificates: LiteMap::new(),
            variables: LiteMap::new(),
        }
    }

    /// What a worker enforces.
    pub(super) fn worker_limits(&self) -> TenantLimits {
        let limits = &self.limits;
        TenantLimits {
            instance_memory_bytes_max: limits.instance_memory_mib_max << 20,
            memory_bytes_max: limits.memory_mib_max << 20,
            memory_guaranteed_bytes: limits.memory_guaranteed_mib << 20,
            memory_refused_traps: limits.memory_refused_traps != 0,
            priority_class: limits.priority_class,
            instance_handles_max: limits.instance_handles_max,
            instance_hostcall_bytes_max: limits.instance_hostcall_kib_max << 10,
            request_cpu_ms_max: limits.request_cpu_ms_max,
            cpu_share: limits.cpu_share,
            cpu_ms_per_s_max: limits.cpu_ms_per_s_max,
            cpu_burst_ms_max: limits.cpu_burst_ms_max,
            request_deadline_ms_max: limits.request_deadline_ms_max,
            response_head_ms_max: limits.response_head_ms_max,
            stream_idle_ms_max: limits.stream_idle_ms_max,
            concurrent_requests_max: limits.concurrent_requests_max,
            waiting_requests_max: limits.waiting_requests_max,
            waiting_ms_max: limits.waiting_ms_max,
            connections_max: limits.connections_max,
            requests_per_s_max: limits.requests_per_s_max,
            key_value_calls_per_s_max: limits.key_value_calls_per_s_max,
            requests_burst_max: limits.requests_burst_max,
            request_bytes_per_s_max: limits.request_kib_per_s_max << 10,
            response_bytes_per_s_max: limits.response_kib_per_s_max << 10,
            url_bytes_max: limits.url_bytes_max,
            request_header_bytes_max: limits.request_header_kib_max << 10,
            response_header_bytes_max: limits.response_header_kib_max << 10,
            failures_in_a_row_max: limits.failures_in_a_row_max,
            request_body_bytes_max: limits.request_body_kib_max << 10,
            response_body_bytes_max: limits.response_body_kib_max << 10,
            outbound_per_request_max: limits.outbound_per_request_max,
            outbound_at_once_max: limits.outbound_at_once_max,
            outbound_connect_ms_max: limits.outbound_connect_ms_max,
            outbound_ms_max: limits.outbound_ms_max,
            outbound_sent_bytes_max: limits.outbound_sent_kib_max << 10,
            outbound_received_bytes_max: limits.outbound_received_kib_max << 10,
            log_bytes_per_s_max: limits.log_bytes_per_s_max,
            log_burst_bytes_max: limits.log_burst_bytes_max,
            log_line_bytes_max: limits.log_line_bytes_max,
            suspended: self.settings.value.suspended,
        }
    }

    /// The version a route serves now.
    pub(super) fn served(&self, target: &RouteTarget) -> Option<&Version> {
        self.serving(target).map(|(_, version)| version)
    }

    /// The same, with its module.
    fn serving(&self, target: &RouteTarget) -> Option<(&Module, &Version)> {
        let module = &self.modules.get(&target.module)?.value;
        let version = module.version(target.version.unwrap_or(module.active_version))?;
        Some((module, version))
    }

    /// The variables that are a module's own.
    pub(super) fn variables_of(&self, module: &ModuleName) -> impl Iterator<Item = &VariableId> {
        self.variables
            .keys()
            .filter(move |id| id.module() == Some(module.as_ref()))
    }

    /// Routes that serve a module, optionally only those that pin one of its versions.
    pub(super) fn routes_of<'a>(
        &'a self,
        module: &'a ModuleName,
    ) -> impl Iterator<Item = (&'a RouteId, &'a RouteTarget)> {
        self.routes
            .iter()
            .map(|(id, route)| (id, &route.value))
            .filter(move |(_, target)| target.module == *module)
    }
}

impl State {
    pub(super) fn new(defaults: Limits) -> Self {
        Self {
            defaults: Arc::new(defaults),
            ..Self::default()
        }
    }

    pub(super) fn defaults(&self) -> &Limits {
        &self.defaults
    }

    /// What tenants may use that have nothing of their own, from here on; gives what workers must learn of it.
    pub(super) fn set_defaults(&mut self, defaults: Limits) -> Vec<TableChange> {
        self.defaults = Arc::new(defaults);
        let mut changes = Vec::new();
        for (name, tenant) in &mut self.tenants {
            let overrides = &tenant.settings.value.overrides;
            tenant.limits = limits_of(name, &self.defaults, overrides);
            changes.push(TableChange::Tenant {
                tenant: name.to_string(),
                limits: tenant.worker_limits(),
            });
        }
        changes
    }

    /// Who holds a hostname that stands in the way of `tenant` routing `host`: one who routes the very same pattern,
    /// a wildcard over it, or anything under it.
    pub(super) fn host_conflict(&self, tenant: &TenantName, host: &HostPattern) -> bool {
        let held = |pattern: &HostPattern| {
            self.hosts
                .get(pattern)
                .is_some_and(|(holder, _)| holder != tenant)
        };
        if held(host) || wildcards_above(host).any(|wildcard| held(&wildcard)) {
            return true;
        }
        // Only a wildcard has names under it, and those must be looked for.
        host.is_wildcard()
            && self
                .hosts
                .iter()
                .any(|(pattern, (holder, _))| holder != tenant && host.covers(pattern))
    }

    /// Whether any kept version stands on a component.
    pub(super) fn references(&self, digest: &Digest) -> bool {
        self.components.contains_key(digest)
    }

    /// Every component that a kept version stands on.
    pub(super) fn referenced(&self) -> impl Iterator<Item = &Digest> {
        self.components.keys()
    }

    /// A kept version that stands on a component, whoever's it is.
    pub(super) fn any_version_of(
        &self,
        digest: &Digest,
    ) -> Option<(&TenantName, &ModuleName, &Version)> {
        self.tenants.iter().find_map(|(name, tenant)| {
            tenant.modules.iter().find_map(|(module, kept)| {
                kept.value
                    .versions
                    .iter()
                    .find(|version| version.digest == *digest)
                    .map(|version| (name, module, version))
            })
        })
    }

    /// The highest version ever accepted of a module, which may be gone; 0 where there was none.
    pub(super) fn highest_version(&self, tenant: &TenantName, module: &ModuleName) -> u64 {
        let kept = self
            .tenants
            .get(tenant)
            .and_then(|tenant| tenant.modules.get(module));
        kept.map(|module| module.value.highest_version)
            .or_else(|| self.floors.get(tenant)?.get(module).copied())
            .unwrap_or(0)
    }

    /// Module names of a tenant that are remembered, kept or gone.
    pub(super) fn names_remembered(&self, tenant: &TenantName) -> usize {
        let kept = self
            .tenants
            .get(tenant)
            .map_or(0, |tenant| tenant.modules.len());
        kept + self.floors.get(tenant).map_or(0, BTreeMap::len)
    }

    pub(super) fn module_count(&self) -> usize {
        self.tenants
            .values()
            .map(|tenant| tenant.modules.len())
            .sum()
    }

    pub(super) fn route_count(&self) -> usize {
        self.tenants
            .values()
            .map(|tenant| tenant.routes.len())
            .sum()
    }

    /// Makes edits that are durable since change `seq`. Edits on what is not there change nothing: they were checked
    /// before they were committed.
    pub(super) fn apply(&mut self, seq: u64, edits: Vec<Edit>) {
        self.seq = self.seq.max(seq);
        for edit in edits {
            self.apply_one(seq, edit);
        }
    }

    fn apply_one(&mut self, revision: u64, edit: Edit) {
        match edit {
            Edit::PutTenant { tenant, settings } => {
                let limits = limits_of(&tenant, &self.defaults, &settings.overrides);
                let settings = Revised {
                    revision,
                    value: *settings,
                };
                match self.tenants.get_mut(&tenant) {
                    Some(known) => {
                        known.settings = settings;
                        known.limits = limits;
                    }
                    None => {
                        self.tenants
                            .insert(tenant, Box::new(Tenant::new(settings, limits)));
                    }
                }
            }
            Edit::DeleteTenant { tenant } => {
                if let Some(gone) = self.tenants.remove(&tenant) {
                    for route in gone.routes.keys() {
                        self.release_host(route.host());
                    }
                    for module in gone.modules.values() {
                        self.release_components(&module.value);
                    }
                }
            }
            Edit::PutKey { tenant, kid, key } => {
                if let Some(tenant) = self.tenants.get_mut(&tenant) {
                    tenant.keys.insert(
                        kid,
                        Revised {
                            revision,
                            value: key,
                        },
                    );
                }
            }
            Edit::DeleteKey { tenant, kid } => {
                if let Some(tenant) = self.tenants.get_mut(&tenant) {
                    tenant.keys.remove(&kid);
                }
            }
            Edit::PutModule {
                tenant,
                name,
                module,
            } => {
                for version in module.versions.iter().map(|version| version.digest) {
                    *self.components.entry(version).or_default() += 1;
                }
                let before = self.tenants.get_mut(&tenant).and_then(|tenant| {
                    tenant.modules.insert(
                        name,
                        Revised {
                            revision,
                            value: module,
                        },
                    )
                });
                if let Some(before) = before {
                    self.release_components(&before.value);
                }
            }
            Edit::DeleteModule { tenant, name } => {
                let before = self.tenants.get_mut(&tenant).and_then(|tenant| {
                    let own = |id: &VariableId| id.module() == Some(name.as_ref());
                    tenant.variables.retain(|id, _| !own(id));
                    tenant.modules.remove(&name)
                });
                if let Some(before) = before {
                    self.release_components(&before.value);
                }
            }
            Edit::PutRoute { tenant, id, target } => {
                let host = id.host().clone();
                let Some(of) = self.tenants.get_mut(&tenant) else {
                    return;
                };
                if of
                    .routes
                    .insert(
                        id,
                        Revised {
                            revision,
                            value: target,
                        },
                    )
                    .is_none()
                {
                    self.hosts.entry(host).or_insert((tenant, 0)).1 += 1;
                }
            }
            Edit::DeleteRoute { tenant, id } => {
                let gone = self
                    .tenants
                    .get_mut(&tenant)
                    .and_then(|tenant| tenant.routes.remove(&id));
                if gone.is_some() {
                    self.release_host(id.host());
                }
            }
            Edit::PutCertificate {
                tenant,
                name,
                certificate,
            } => {
                if let Some(tenant) = self.tenants.get_mut(&tenant) {
                    let value = *certificate;
                    tenant
                        .certificates
                        .insert(name, Revised { revision, value });
                }
            }
            Edit::DeleteCertificate { tenant, name } => {
                if let Some(tenant) = self.tenants.get_mut(&tenant) {
                    tenant.certificates.remove(&name);
                }
            }
            Edit::PutVariable {
                tenant,
                id,
                variable,
            } => {
                if let Some(tenant) = self.tenants.get_mut(&tenant) {
                    let value = variable;
                    tenant.variables.insert(id, Revised { revision, value });
                }
            }
            Edit::DeleteVariable { tenant, id } => {
                if let Some(tenant) = self.tenants.get_mut(&tenant) {
                    tenant.variables.remove(&id);
                }
            }
            Edit::PutFloor {
                tenant,
                module,
                highest_version,
            } => {
                self.floors
                    .entry(tenant)
                    .or_default()
                    .insert(module, highest_version);
            }
            Edit::DeleteFloor { tenant, module } => {
                if let Some(floors) = self.floors.get_mut(&tenant) {
                    floors.remove(&module);
                }
            }
        }
    }

    fn release_host(&mut self, host: &HostPattern) {
        if let Some((_, routes)) = self.hosts.get_mut(host) {
            *routes -= 1;
            if *routes == 0 {
                self.hosts.remove(host);
            }
        }
    }

    fn release_components(&mut self, module: &Module) {
        for version in &module.versions {
            if let Some(count) = self.components.get_mut(&version.digest) {
                *count -= 1;
                if *count == 0 {
                    self.components.remove(&version.digest);
                }
            }
        }
    }
}

/// How artifacts are named, so that the table can say what to run.
pub(super) trait NameArtifacts {
    /// The artifact of a component under this node's engine.
    fn artifact_of(&self, digest: &Digest) -> crate::link::ArtifactName;
}

impl State {
    /// The whole routing table as changes.
    pub(super) fn table(&self, names: &impl NameArtifacts) -> Vec<TableChange> {
        let mut changes = Vec::new();
        for (name, tenant) in &self.tenants {
            changes.push(TableChange::Tenant {
                tenant: name.to_string(),
                limits: tenant.worker_limits(),
            });
            for (id, route) in &tenant.routes {
                changes.extend(route_change(names, name, tenant, id, &route.value));
            }
            for (id, kept) in &tenant.certificates {
                changes.extend(certificate_change(name, id, &kept.value));
            }
        }
        changes
    }

    /// What the routing table needs to follow these edits, once they are applied.
    pub(super) fn table_after(
        &self,
        edits: &[Affected],
        names: &impl NameArtifacts,
    ) -> Vec<TableChange> {
        let mut changes = Vec::new();
        for affected in edits {
            match affected {
                Affected::Tenant(name) => match self.tenants.get(name) {
                    Some(tenant) => changes.push(TableChange::Tenant {
                        tenant: name.to_string(),
                        limits: tenant.worker_limits(),
                    }),
                    None => changes.push(TableChange::TenantGone {
                        tenant: name.to_string(),
                    }),
                },
                Affected::Module(name, module) => {
                    let Some(tenant) = self.tenants.get(name) else {
                        continue;
                    };
                    for (id, target) in tenant.routes_of(module) {
                        changes.extend(route_change(names, name, tenant, id, target));
                    }
                }
                Affected::Certificate(name, id) => {
                    let kept = self
                        .tenants
                        .get(name)
                        .and_then(|tenant| tenant.certificates.get(id));
                    let set = kept.and_then(|kept| certificate_change(name, id, &kept.value));
                    changes.push(set.unwrap_or_else(|| TableChange::CertificateGone {
                        tenant: name.to_string(),
                        name: id.to_string(),
                    }));
                }
                Affected::Route(name, id) => {
                    let tenant = self.tenants.get(name);
                    let set = tenant.and_then(|tenant| {
                        let route = tenant.routes.get(id)?;
                        route_change(names, name, tenant, id, &route.value)
                    });
                    changes.push(set.unwrap_or_else(|| TableChange::RouteGone {
                        host: id.host().as_str().to_owned(),
                        path: path_text(id.path()),
                    }));
                }
            }
        }
        changes
    }
}

/// What holds for a tenant. Its overrides were checked when they were set; the node's defaults may have changed since,
/// and of two limits that go together only one may be the tenant's own.
fn limits_of(
    tenant: &TenantName,
    defaults: &Arc<Limits>,
    overrides: &LimitOverrides,
) -> Arc<Limits> {
    if overrides.rows().next().is_none() {
        return Arc::clone(defaults);
    }
    let (limits, refused) = defaults.with_fitting(overrides);
    for (row, error) in refused {
        tracing::warn!(
            %tenant,
            limit = row.name,
            %error,
            "a tenant's own limit no longer fits this node's defaults, which hold instead"
        );
    }
    Arc::new(limits)
}

/// A part of the routing table that an edit may have changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Affected {
    Tenant(TenantName),
    Module(TenantName, ModuleName),
    Route(TenantName, RouteId),
    Certificate(TenantName, CertificateName),
}

/// `None` for one whose key cannot be read.
fn certificate_change(
    tenant: &TenantName,
    name: &CertificateName,
    certificate: &Certificate,
) -> Option<TableChange> {
    let facts = &certificate.facts;
    (!certificate.schemes.is_empty()).then(|| TableChange::Certificate {
        tenant: tenant.to_string(),
        name: name.to_string(),
        target: CertificateTarget {
            names: facts
                .names
                .iter()
                .map(|name| name.as_str().to_owned())
                .collect(),
            chain: certificate.chain.to_vec(),
            key: certificate.key_id(),
            schemes: certificate.schemes.clone(),
            not_after_s: facts.not_after_s,
        },
    })
}

fn route_change(
    names: &impl NameArtifacts,
    name: &TenantName,
    tenant: &Tenant,
    id: &RouteId,
    target: &RouteTarget,
) -> Option<TableChange> {
    let (module, version) = tenant.serving(target)?;
    Some(TableChange::Route {
        host: id.host().as_str().to_owned(),
        path: path_text(id.path()),
        tenant: name.to_string(),
        target: ModuleTarget {
            module: target.module.to_string(),
            version: version.version,
            artifact: names.artifact_of(&version.digest),
            world: version.world,
            reuse: module.reuse_of(version),
            grants: module.grants.as_deref().map(grants::told),
        },
    })
}

/// Every wildcard that takes in what `host` does, the longest first; for a wildcard, those above it.
fn wildcards_above(host: &HostPattern) -> impl Iterator<Item = HostPattern> {
    let mut rest = host.base();
    std::iter::from_fn(move || {
        let (_, suffix) = rest.split_once('.')?;
        rest = suffix;
        // A suffix of a good name may not be one itself (all digits, say): then it has no wildcard.
        Some(format!("*.{suffix}").parse().ok())
    })
    .flatten()
}

fn path_text(path: &PathPrefix) -> String {
    path.as_str().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overrides_that_fit_outlive_one_that_no_longer_does() {
        let mut defaults = Limits::default();
        defaults.log_burst_bytes_max = 1024;
        defaults.log_line_bytes_max = 512;
        let overrides = LimitOverrides {
            concurrent_requests_max: Some(3),
            log_line_bytes_max: Some(2048),
            routes_max: Some(5),
            ..LimitOverrides::default()
        };
        assert!(defaults.with(&overrides).is_err());
        let mut state = State::new(defaults);
        let tenant: TenantName = "acme".parse().unwrap();
        let settings = TenantSettings {
            created_at_s: 1,
            overrides,
            hosts: Vec::new(),
            suspended: false,
        };
        let edit = Edit::PutTenant {
            tenant: tenant.clone(),
            settings: Box::new(settings),
        };
        state.apply(1, vec![edit]);
        let kept = &state.tenants[&tenant];
        assert_eq!(kept.limits.concurrent_requests_max, 3);
        assert_eq!(kept.limits.routes_max, 5);
        assert_eq!(kept.limits.log_line_bytes_max, 512);
        // Lower defaults of another day lose nothing: what was asked for is still there.
        assert_eq!(kept.settings.value.overrides, overrides);
    }
}
