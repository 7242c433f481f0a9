//! From the store's records to the state in memory, at start.

use std::fmt::Display;
use std::str::FromStr;

use edge_config::{LimitOverrides, Limits, RouteId};

use super::edit::Edit;
use super::grants;
use super::state::{
    Certificate, Module, PublisherKey, RouteTarget, State, TenantSettings, Version,
};
use super::tls::facts_of;
use super::variables;
use crate::link::{Reuse, World};
use crate::store::{CertificateRecord, ModuleRecord, Snapshot, TenantRecord, VersionRecord};

/// A record that this build cannot make sense of.
#[derive(Debug, thiserror::Error)]
#[error("the store holds {what} `{value}`, which is not one: {why}")]
pub struct RestoreError {
    pub(super) what: &'static str,
    pub(super) value: String,
    pub(super) why: String,
}

/// Builds the state from what the store loaded. `unlock` takes a certificate's private key into memory and gives the
/// schemes by which it signs, none where it cannot be read.
///
/// # Errors
/// [`RestoreError`] for the first record that does not fit the domain's types: a store of a newer build, or a bug.
pub(super) fn restore(
    snapshot: Snapshot,
    defaults: Limits,
    unlock: impl Fn(&CertificateRecord) -> Vec<u16>,
) -> Result<State, RestoreError> {
    let mut state = State::new(defaults);
    for record in snapshot.tenants {
        let tenant = parse("a tenant name", &record.record.tenant)?;
        let settings = Box::new(settings(&record.record)?);
        state.apply(record.revision, vec![Edit::PutTenant { tenant, settings }]);
    }
    for record in snapshot.publisher_keys {
        let key = record.record;
        let public_key = key
            .public_key
            .as_slice()
            .try_into()
            .map_err(|_| RestoreError {
                what: "a publisher key",
                value: key.kid.clone(),
                why: format!("{} bytes; 32 are needed", key.public_key.len()),
            })?;
        let edit = Edit::PutKey {
            tenant: parse("a tenant name", &key.tenant)?,
            kid: parse("a key id", &key.kid)?,
            key: PublisherKey {
                public_key,
                added_at_s: key.added_at_s,
            },
        };
        state.apply(record.revision, vec![edit]);
    }
    for record in snapshot.modules {
        let edit = Edit::PutModule {
            tenant: parse("a tenant name", &record.record.tenant)?,
            name: parse("a module name", &record.record.module)?,
            module: module(record.record)?,
        };
        state.apply(record.revision, vec![edit]);
    }
    for record in snapshot.routes {
        let route = record.record;
        let edit = Edit::PutRoute {
            tenant: parse("a tenant name", &route.tenant)?,
            id: RouteId::new(
                parse("a hostname", &route.host)?,
                parse("a path prefix", &route.path)?,
            ),
            target: RouteTarget {
                module: parse("a module name", &route.module)?,
                version: route.version,
            },
        };
        state.apply(record.revision, vec![edit]);
    }
    for record in snapshot.certificates {
        let schemes = unlock(&record.record);
        let edit = Edit::PutCertificate {
            tenant: parse("a tenant name", &record.record.tenant)?,
            name: parse("a certificate name", &record.record.certificate)?,
            certificate: Box::new(certificate(record.record, schemes)?),
        };
        state.apply(record.revision, vec![edit]);
    }
    for record in snapshot.variables {
        let edit = variables::restored(record.record)?;
        state.apply(record.revision, vec![edit]);
    }
    for record in snapshot.floors {
        let floor = record.record;
        let edit = Edit::PutFloor {
            tenant: parse("a tenant name", &floor.tenant)?,
            module: parse("a module name", &floor.module)?,
            highest_version: floor.highest_version,
        };
        state.apply(record.revision, vec![edit]);
    }
    state.seq = snapshot.seq;
    Ok(state)
}

fn settings(record: &TenantRecord) -> Result<TenantSettings, RestoreError> {
    let mut overrides = LimitOverrides::default();
    for (name, value) in &record.limits {
        if !overrides.set(name, Some(*value)) {
            tracing::warn!(
                tenant = record.tenant,
                limit = name,
                "a stored limit is unknown to this build"
            );
        }
    }
    Ok(TenantSettings {
        created_at_s: record.created_at_s,
        overrides,
        hosts: record
            .hosts
            .iter()
            .map(|host| parse("a hostname", host))
            .collect::<Result<_, _>>()?,
        suspended: record.suspended,
    })
}

fn certificate(record: CertificateRecord, schemes: Vec<u16>) -> Result<Certificate, RestoreError> {
    Ok(Certificate {
        facts: facts_of(&record.chain).map_err(|error| RestoreError {
            what: "a certificate",
            value: record.certificate,
            why: error.to_string(),
        })?,
        chain: record.chain.into(),
        sealed_key: record.sealed_key.into(),
        added_at_s: record.added_at_s,
        schemes,
    })
}

fn module(record: ModuleRecord) -> Result<Module, RestoreError> {
    Ok(Module {
        active_version: record.active_version,
        highest_version: record.highest_version,
        reuse: record.reuse.map(|reuse| Reuse {
            requests_max: reuse.requests_max,
            idle_ms_max: reuse.idle_ms_max,
            concurrency_max: reuse.concurrency_max,
            memory_bytes_max: reuse.memory_bytes_max,
        }),
        grants: record.grants.map(grants::restored).transpose()?,
        versions: record
            .versions
            .into_iter()
            .map(version)
            .collect::<Result<_, _>>()?,
    })
}

fn version(record: VersionRecord) -> Result<Version, RestoreError> {
    let world = World::ALL
        .into_iter()
        .find(|world| world.name() == record.world);
    Ok(Version {
        version: record.version,
        digest: parse("a digest", &record.digest)?,
        component_bytes: record.component_bytes,
        kid: parse("a key id", &record.kid)?,
        accepted_at_s: record.accepted_at_s,
        statement: record.statement.into(),
        world: world.ok_or_else(|| RestoreError {
            what: "a world",
            value: record.world,
            why: "this build serves no such".to_owned(),
        })?,
        details: record.inspection.into(),
    })
}

pub(super) fn parse<T: FromStr<Err: Display>>(
    what: &'static str,
    text: &str,
) -> Result<T, RestoreError> {
    text.parse().map_err(|error: T::Err| RestoreError {
        what,
        value: text.to_owned(),
        why: error.to_string(),
    })
}
