//! From the state in memory to what the API shows.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use control_api::view;
use edge_config::{KeyId, Limits, ModuleName, RouteId, TenantName};

use super::state::{
    Module, PublisherKey, RouteTarget, Tenant, TenantSettings, Version, VersionDetails,
};
use crate::artifact::inspect::Inspection;
use crate::host;
use crate::link::Reuse;

pub(super) fn tenant(name: &TenantName, settings: &TenantSettings, limits: Limits) -> view::Tenant {
    view::Tenant {
        name: name.clone(),
        created_at: settings.created_at_s,
        limits: settings.overrides,
        effective_limits: limits,
        hosts: settings.hosts.clone(),
        suspended: settings.suspended,
    }
}

pub(super) fn key(kid: &KeyId, key: &PublisherKey) -> view::PublisherKey {
    view::PublisherKey {
        kid: kid.clone(),
        jwk: jwk(kid, &key.public_key),
        added_at: key.added_at_s,
    }
}

pub(super) fn jwk(kid: &KeyId, public_key: &[u8; 32]) -> view::PublicJwk {
    view::PublicJwk {
        kty: "OKP".to_owned(),
        crv: "Ed25519".to_owned(),
        x: URL_SAFE_NO_PAD.encode(public_key),
        kid: Some(kid.to_string()),
        alg: Some("EdDSA".to_owned()),
        key_use: Some("sig".to_owned()),
    }
}

pub(super) fn module(name: &ModuleName, module: &Module) -> view::Module {
    view::Module {
        name: name.clone(),
        active_version: module.active_version,
        highest_version: module.highest_version,
        instances: instances(module),
        grants: grants(module),
        versions: module.versions.iter().rev().map(version).collect(),
    }
}

pub(super) fn grants(module: &Module) -> view::Grants {
    module.grants.as_deref().cloned().unwrap_or_default()
}

pub(super) fn instances(module: &Module) -> view::InstanceUse {
    match module.reuse {
        None => view::InstanceUse::Fresh {},
        Some(reuse) => view::InstanceUse::Reuse {
            requests_max: reuse.requests_max.into(),
            idle_ms_max: reuse.idle_ms_max,
            concurrency_max: reuse.concurrency_max.into(),
            memory_mib_max: reuse.memory_bytes_max >> 20,
        },
    }
}

/// From the API to the domain; the figures were checked, and larger ones than were allowed are cut.
pub(super) fn reuse(asked: &view::InstanceUse) -> Option<Reuse> {
    match *asked {
        view::InstanceUse::Fresh {} => None,
        view::InstanceUse::Reuse {
            requests_max,
            idle_ms_max,
            concurrency_max,
            memory_mib_max,
        } => Some(Reuse {
            requests_max: u32::try_from(requests_max).unwrap_or(u32::MAX),
            idle_ms_max,
            concurrency_max: u32::try_from(concurrency_max).unwrap_or(u32::MAX),
            memory_bytes_max: memory_mib_max.saturating_mul(1 << 20),
        }),
    }
}

pub(super) fn version(version: &Version) -> view::ModuleVersion {
    // Written by this node, checked by the store; a build that cannot read it shows the rest.
    let details = postcard::from_bytes::<VersionDetails>(&version.details).ok();
    view::ModuleVersion {
        version: version.version,
        digest: version.digest,
        component_bytes: version.component_bytes,
        kid: version.kid.clone(),
        accepted_at: version.accepted_at_s,
        world: version.world.name().to_owned(),
        inspection: details
            .map(|details| inspection(&details.inspection, None))
            .unwrap_or_default(),
    }
}

/// A version as the audit log keeps it: what it was, without all that its component is made of.
pub(super) fn audited_version(version: &Version) -> serde_json::Value {
    serde_json::json!({
        "version": version.version,
        "digest": version.digest,
        "component_bytes": version.component_bytes,
        "kid": version.kid,
    })
}

/// A module as the audit log keeps it.
pub(super) fn audited_module(name: &ModuleName, module: &Module) -> serde_json::Value {
    let versions: Vec<_> = module.versions.iter().rev().map(audited_version).collect();
    serde_json::json!({
        "name": name,
        "active_version": module.active_version,
        "instances": instances(module),
        "grants": grants(module),
        "versions": versions,
    })
}

/// What inspection found; beside grants, with what they lack.
pub(super) fn inspection(
    inspection: &Inspection,
    grants: Option<&view::Grants>,
) -> view::Inspection {
    let lacks = |grants: &view::Grants, name: &str| {
        let member = host::grant_for(name)?;
        let has_none = match member {
            host::Grant::KeyValue => grants.key_value.is_empty(),
            host::Grant::Databases => grants.databases.is_empty(),
            host::Grant::Outbound => grants.outbound.is_empty(),
        };
        has_none.then(|| member.name().to_owned())
    };
    let imports = inspection.imports.iter().map(|name| view::Import {
        name: name.clone(),
        granted: host::offers(name),
        needs: grants.and_then(|grants| lacks(grants, name)),
    });
    view::Inspection {
        imports: imports.collect(),
        exports: inspection.exports.clone(),
        memory_initial_bytes: inspection.memory.initial_bytes,
        memory_maximum_bytes: inspection.memory.maximum_bytes,
        core_modules: inspection.core_modules,
        functions: inspection.functions,
    }
}

/// A route, where what it serves is still kept.
pub(super) fn route(id: &RouteId, target: &RouteTarget, tenant: &Tenant) -> view::Route {
    view::Route {
        id: id.clone(),
        host: id.host().clone(),
        path: id.path().clone(),
        module: target.module.clone(),
        version: target.version,
        serves_version: tenant.served(target).map_or(0, |version| version.version),
    }
}
