//! How a module's instances are used: part of the module, and so under its revision.

use control_api::error::PlaneError;
use control_api::plane::Caller;
use control_api::view::{InstanceUse, Precondition, Revised, Written};
use edge_config::{ModuleName, TenantName};

use super::change::{Plan, check, revised};
use super::edit::Edit;
use super::plane::{module_in, tenant_in, version_not_found};
use super::state::{Module, State};
use super::{Control, views};

impl Control {
    /// How a module's instances are used.
    ///
    /// # Errors
    /// [`PlaneError::TenantNotFound`], [`PlaneError::ModuleNotFound`].
    pub(super) fn instances(
        &self,
        tenant: &TenantName,
        module: &ModuleName,
    ) -> Result<Revised<InstanceUse>, PlaneError> {
        let state = self.read();
        let found = module_in(tenant_in(&state, tenant)?, tenant, module)?;
        Ok(revised(found.revision, views::instances(&found.value)))
    }

    /// Says how a module's instances are used.
    ///
    /// # Errors
    /// Those of [`plan`] and of every change.
    pub(super) async fn set_instances(
        &self,
        tenant: &TenantName,
        module: &ModuleName,
        write: InstanceUse,
        precondition: Precondition,
        caller: &Caller,
    ) -> Result<(Revised<InstanceUse>, Written), PlaneError> {
        let (name, id) = (tenant.clone(), module.clone());
        let written = self
            .change(caller, move |state| {
                plan(state, name, id, write, precondition)
            })
            .await?;
        Ok((self.instances(tenant, module)?, written))
    }
}

/// All rules of it.
///
/// # Errors
/// Where there is no such module, where the precondition does not hold, and what [`InstanceUse::check`] refuses.
fn plan(
    state: &State,
    tenant: TenantName,
    name: ModuleName,
    write: InstanceUse,
    precondition: Precondition,
) -> Result<Plan, PlaneError> {
    let found = module_in(tenant_in(state, &tenant)?, &tenant, &name)?;
    check(precondition, Some(found.revision))?;
    let before = &found.value;
    let active = before
        .version(before.active_version)
        .ok_or_else(|| version_not_found(&name, before.active_version, before))?;
    write.check(active.version, active.world.name())?;
    let reuse = views::reuse(&write);
    if before.reuse == reuse {
        return Ok(Plan::nothing());
    }
    let module = Module {
        reuse,
        ..before.clone()
    };
    let plan = Plan::new("module.instances", Some(&tenant), name.to_string()).written(true);
    Ok(plan
        .before(Some(views::instances(before)))
        .after(Some(write))
        .edit(Edit::PutModule {
            tenant,
            name,
            module,
        }))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use edge_config::{Digest, LimitOverrides, Limits};

    use super::*;
    use crate::control::edit::affected;
    use crate::control::state::{NameArtifacts, RouteTarget, TenantSettings, Version};
    use crate::link::{ArtifactName, Reuse, TableChange, World};

    struct NoArtifacts;

    impl NameArtifacts for NoArtifacts {
        fn artifact_of(&self, _: &Digest) -> ArtifactName {
            ArtifactName([0; 32])
        }
    }

    #[test]
    fn a_worker_is_told_how_instances_are_used_again_and_one_at_a_time_for_the_older_world() {
        let tenant: TenantName = "acme".parse().unwrap();
        let name: ModuleName = "hello".parse().unwrap();
        let version = |version, world| Version {
            version,
            digest: Digest::from_bytes([7; 32]),
            component_bytes: 1,
            kid: "ci".parse().unwrap(),
            accepted_at_s: 1,
            statement: "".into(),
            world,
            details: Box::default(),
        };
        let module = |reuse| Module {
            active_version: 2,
            highest_version: 2,
            reuse,
            grants: None,
            versions: vec![version(1, World::Proxy02), version(2, World::Service03)],
        };
        let settings = TenantSettings {
            created_at_s: 1,
            overrides: LimitOverrides::default(),
            hosts: Vec::new(),
            suspended: false,
        };
        let put = |reuse| Edit::PutModule {
            tenant: tenant.clone(),
            name: name.clone(),
            module: module(reuse),
        };
        let route = |place: &str, version| Edit::PutRoute {
            tenant: tenant.clone(),
            id: place.parse().unwrap(),
            target: RouteTarget {
                module: name.clone(),
                version,
            },
        };
        let mut state = State::new(Limits::default());
        let made = vec![
            Edit::PutTenant {
                tenant: tenant.clone(),
                settings: Box::new(settings),
            },
            put(None),
            route("active.test/", None),
            route("pinned.test/", Some(1)),
        ];
        state.apply(1, made);
        let told = |changes: Vec<TableChange>| -> BTreeMap<String, Option<Reuse>> {
            changes
                .into_iter()
                .filter_map(|change| match change {
                    TableChange::Route { host, target, .. } => Some((host, target.reuse)),
                    _ => None,
                })
                .collect()
        };
        let both = |active, pinned| {
            BTreeMap::from([
                ("active.test".to_owned(), active),
                ("pinned.test".to_owned(), pinned),
            ])
        };
        assert_eq!(told(state.table(&NoArtifacts)), both(None, None));

        let asked = Reuse {
            requests_max: 128,
            idle_ms_max: 60_000,
            concurrency_max: 8,
            memory_bytes_max: 32 << 20,
        };
        let edits = vec![put(Some(asked))];
        let affected = affected(&state, &edits);
        state.apply(2, edits);
        let one = Reuse {
            concurrency_max: 1,
            ..asked
        };
        let changed = told(state.table_after(&affected, &NoArtifacts));
        assert_eq!(changed, both(Some(asked), Some(one)));
        assert_eq!(told(state.table(&NoArtifacts)), changed);
    }
}
