//! What a module's guests may do beyond answering requests: part of the module, and so under its revision.

use control_api::error::PlaneError;
use control_api::plane::Caller;
use control_api::view::{Grants, Precondition, Revised, Written};
use edge_config::{ModuleName, TenantName};

use super::change::{Plan, check, revised};
use super::edit::Edit;
use super::plane::{module_in, tenant_in};
use super::restore::{RestoreError, parse};
use super::state::{Module, State};
use super::{Control, views};
use crate::link::ModuleGrants;
use crate::store::GrantsRecord;

impl Control {
    /// What a module's guests are granted.
    ///
    /// # Errors
    /// [`PlaneError::TenantNotFound`], [`PlaneError::ModuleNotFound`].
    pub(super) fn grants(
        &self,
        tenant: &TenantName,
        module: &ModuleName,
    ) -> Result<Revised<Grants>, PlaneError> {
        let state = self.read();
        let found = module_in(tenant_in(&state, tenant)?, tenant, module)?;
        Ok(revised(found.revision, views::grants(&found.value)))
    }

    /// Says what a module's guests are granted.
    ///
    /// # Errors
    /// Those of [`plan`] and of every change.
    pub(super) async fn set_grants(
        &self,
        tenant: &TenantName,
        module: &ModuleName,
        write: Grants,
        precondition: Precondition,
        caller: &Caller,
    ) -> Result<(Revised<Grants>, Written), PlaneError> {
        let (name, id) = (tenant.clone(), module.clone());
        let written = self
            .change(caller, move |state| {
                plan(state, name, id, write, precondition)
            })
            .await?;
        Ok((self.grants(tenant, module)?, written))
    }
}

/// All rules of it.
///
/// # Errors
/// Where there is no such module, where the precondition does not hold, and what [`Grants::check`] refuses.
fn plan(
    state: &State,
    tenant: TenantName,
    name: ModuleName,
    write: Grants,
    precondition: Precondition,
) -> Result<Plan, PlaneError> {
    let found = module_in(tenant_in(state, &tenant)?, &tenant, &name)?;
    check(precondition, Some(found.revision))?;
    write.check()?;
    let before = views::grants(&found.value);
    if before == write {
        return Ok(Plan::nothing());
    }
    let module = Module {
        grants: (write != Grants::default()).then(|| Box::new(write.clone())),
        ..found.value.clone()
    };
    let plan = Plan::new("module.grants", Some(&tenant), name.to_string()).written(true);
    Ok(plan
        .before(Some(before))
        .after(Some(write))
        .edit(Edit::PutModule {
            tenant,
            name,
            module,
        }))
}

/// What a worker is told.
pub(super) fn told(grants: &Grants) -> ModuleGrants {
    ModuleGrants {
        key_value: strings(&grants.key_value),
        databases: strings(&grants.databases),
        outbound: strings(&grants.outbound),
        networks: strings(&grants.networks),
        environment: environment(grants),
    }
}

/// What is stored.
pub(super) fn record(grants: &Grants) -> GrantsRecord {
    GrantsRecord {
        key_value: strings(&grants.key_value),
        variables: grants.variables.clone(),
        outbound: strings(&grants.outbound),
        networks: strings(&grants.networks),
        environment: environment(grants),
        databases: strings(&grants.databases),
    }
}

/// What was stored.
pub(super) fn restored(record: GrantsRecord) -> Result<Box<Grants>, RestoreError> {
    let stores = record.key_value.iter();
    let databases = record.databases.iter();
    let outbound = record.outbound.iter();
    let networks = record.networks.iter();
    Ok(Box::new(Grants {
        key_value: stores
            .map(|name| parse("a store name", name))
            .collect::<Result<_, _>>()?,
        databases: databases
            .map(|name| parse("a database's name", name))
            .collect::<Result<_, _>>()?,
        variables: record.variables,
        outbound: outbound
            .map(|host| parse("an outbound host", host))
            .collect::<Result<_, _>>()?,
        networks: networks
            .map(|network| parse("a network", network))
            .collect::<Result<_, _>>()?,
        environment: record.environment.into_iter().collect(),
    }))
}

fn strings(entries: &[impl ToString]) -> Vec<String> {
    entries.iter().map(ToString::to_string).collect()
}

fn environment(grants: &Grants) -> Vec<(String, String)> {
    let entries = grants.environment.iter();
    entries
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}
