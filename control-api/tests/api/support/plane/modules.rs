//! Modules and their kept versions.

use control_api::error::PlaneError;
use control_api::plane::Caller;
use control_api::view::*;
use edge_config::{ModuleName, TenantName, VariableId};

use super::state::{Owner, Result, State, holds, page};

impl State {
    pub(super) fn modules(
        &self,
        tenant: &TenantName,
        request: &PageRequest,
    ) -> Result<Page<Module>> {
        let modules = self.owner(tenant)?.modules.iter();
        Ok(page(
            modules.map(|(name, module)| (name, module.value.clone())),
            request,
        ))
    }

    pub(super) fn module_version(
        &self,
        tenant: &TenantName,
        module: &ModuleName,
        version: u64,
    ) -> Result<Revised<ModuleVersion>> {
        let module = self.owner(tenant)?.module(tenant, module)?;
        Ok(Revised {
            revision: module.revision,
            value: kept(&module.value, version)?.clone(),
        })
    }

    pub(super) fn grants(
        &self,
        tenant: &TenantName,
        module: &ModuleName,
    ) -> Result<Revised<Grants>> {
        let module = self.owner(tenant)?.module(tenant, module)?;
        Ok(Revised {
            revision: module.revision,
            value: module.value.grants.clone(),
        })
    }

    pub(super) fn put_grants(
        &mut self,
        tenant: &TenantName,
        module: &ModuleName,
        write: Grants,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<(Revised<Grants>, Written)> {
        let there = self.owner(tenant)?.module(tenant, module)?;
        holds(precondition, Some(there.revision))?;
        write.check()?;
        if there.value.grants == write {
            return Ok((self.grants(tenant, module)?, Written::Unchanged));
        }
        let mut after = there.value.clone();
        after.grants = write;
        let after = Revised {
            revision: self.record(caller, "module.grants", tenant, module.to_string()),
            value: after,
        };
        let modules = &mut self.owner_mut(tenant)?.modules;
        modules.insert(module.clone(), after);
        Ok((self.grants(tenant, module)?, Written::Updated))
    }

    pub(super) fn instances(
        &self,
        tenant: &TenantName,
        module: &ModuleName,
    ) -> Result<Revised<InstanceUse>> {
        let module = self.owner(tenant)?.module(tenant, module)?;
        Ok(Revised {
            revision: module.revision,
            value: module.value.instances,
        })
    }

    pub(super) fn put_instances(
        &mut self,
        tenant: &TenantName,
        module: &ModuleName,
        write: InstanceUse,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<(Revised<InstanceUse>, Written)> {
        let there = self.owner(tenant)?.module(tenant, module)?;
        holds(precondition, Some(there.revision))?;
        let active = kept(&there.value, there.value.active_version)?;
        write.check(active.version, &active.world)?;
        if there.value.instances == write {
            return Ok((self.instances(tenant, module)?, Written::Unchanged));
        }
        let mut after = there.value.clone();
        after.instances = write;
        let after = Revised {
            revision: self.record(caller, "module.instances", tenant, module.to_string()),
            value: after,
        };
        let modules = &mut self.owner_mut(tenant)?.modules;
        modules.insert(module.clone(), after);
        Ok((self.instances(tenant, module)?, Written::Updated))
    }

    pub(super) fn delete_module(
        &mut self,
        tenant: &TenantName,
        module: &ModuleName,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<()> {
        let owner = self.owner(tenant)?;
        holds(precondition, Some(owner.module(tenant, module)?.revision))?;
        let routes: Vec<_> = owner
            .routes
            .iter()
            .filter(|(_, route)| route.value.module == *module)
            .map(|(id, _)| id.to_string())
            .collect();
        if !routes.is_empty() {
            return Err(PlaneError::ModuleInUse {
                module: module.clone(),
                routes: routes.join(", "),
            });
        }
        let owner = self.owner_mut(tenant)?;
        owner.modules.remove(module);
        let own = |id: &VariableId| id.module() == Some(module.as_ref());
        owner.variables.retain(|id, _| !own(id));
        owner.values.retain(|id, _| !own(id));
        self.record(caller, "module.delete", tenant, module.to_string());
        Ok(())
    }
}

impl Owner {
    pub(super) fn module(
        &self,
        tenant: &TenantName,
        module: &ModuleName,
    ) -> Result<&Revised<Module>> {
        let found = self.modules.get(module);
        found.ok_or_else(|| PlaneError::ModuleNotFound {
            tenant: tenant.clone(),
            module: module.clone(),
        })
    }
}

/// A version that is still kept.
pub(super) fn kept(module: &Module, version: u64) -> Result<&ModuleVersion> {
    let versions = &module.versions;
    let found = versions.iter().find(|kept| kept.version == version);
    found.ok_or_else(|| {
        let kept: Vec<_> = versions.iter().map(|kept| kept.version).collect();
        PlaneError::VersionNotFound {
            module: module.name.clone(),
            version,
            kept: format!("{kept:?}"),
        }
    })
}
