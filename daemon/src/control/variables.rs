//! Variables: what the API writes and guests read. Secrets stay encrypted here, and are opened for the guest that asks.

use std::collections::BTreeMap;
use std::path::Path;

use control_api::error::PlaneError;
use control_api::plane::Caller;
use control_api::view::{self, Page, PageRequest, Precondition, Revised, VariableWrite, Written};
use edge_config::{LabelError, TenantName, VariableId, is_variable_name};

use super::change::{Plan, check, revised};
use super::edit::Edit;
use super::plane::{module_in, paged, room, tenant_in};
use super::restore::{RestoreError, parse};
use super::state::{State, Tenant};
use super::vault::Vault;
use super::{Control, internal};
use crate::artifact::cache::{KeyError, KeyFile};
use crate::link::services::{Fault, Given};
use crate::store::VariableRecord;

/// The key of secrets.
const KEY_FILE: KeyFile = KeyFile {
    name: "variables.key",
    unfinished: "variables.key.new",
    lost: "the secrets among variables must then be set again, since they cannot be read without it",
};

/// Most secrets that cannot be read which the log has by name.
const LOCKED_NAMED_MAX: usize = 100;

/// A variable as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Variable {
    pub(super) value: Value,
    /// When it was last written, in seconds since 1970-01-01 UTC.
    pub(super) changed_at_s: u64,
}

/// What a guest reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Plain(Box<str>),
    /// A secret, encrypted under the names of the tenant and the variable.
    Sealed(Box<[u8]>),
}

/// Opens what secrets are sealed in.
///
/// # Errors
/// As for the key of artifacts.
pub(super) fn vault(keys_dir: &Path) -> Result<Vault, KeyError> {
    Vault::open_or_create(keys_dir, KEY_FILE)
}

/// Says in the log which secrets no guest can read: their key was lost or replaced.
pub(super) fn report_locked(state: &State, vault: &Vault) {
    let mut locked = 0_usize;
    for (tenant, kept) in &state.tenants {
        for (id, variable) in &kept.variables {
            let Value::Sealed(sealed) = &variable.value.value else {
                continue;
            };
            let Err(error) = vault.open(&[tenant.as_ref(), id.as_str()], sealed) else {
                continue;
            };
            locked += 1;
            if locked <= LOCKED_NAMED_MAX {
                tracing::error!(%tenant, variable = %id, %error, "a secret cannot be read: set it again");
            }
        }
    }
    if locked > LOCKED_NAMED_MAX {
        tracing::error!(
            locked,
            "these are all secrets that cannot be read: set them again"
        );
    }
}

impl Control {
    pub(super) fn list_variables(
        &self,
        tenant: &TenantName,
        page: &PageRequest,
    ) -> Result<Page<view::Variable>, PlaneError> {
        let state = self.read();
        let kept = tenant_in(&state, tenant)?.variables.iter();
        Ok(paged(kept, page, |id, kept| shown(id, &kept.value)))
    }

    pub(super) fn show_variable(
        &self,
        tenant: &TenantName,
        id: &VariableId,
    ) -> Result<Revised<view::Variable>, PlaneError> {
        let state = self.read();
        let kept = tenant_in(&state, tenant)?.variables.get(id);
        let kept = kept.ok_or_else(|| not_found(tenant, id))?;
        Ok(revised(kept.revision, shown(id, &kept.value)))
    }

    /// Sets a variable.
    ///
    /// # Errors
    /// Where there is no such tenant or module, where the precondition does not hold, what [`VariableWrite::check`]
    /// refuses, [`PlaneError::LimitReached`], and those of every change.
    pub(super) async fn set_variable(
        &self,
        tenant: &TenantName,
        id: &VariableId,
        write: VariableWrite,
        precondition: Precondition,
        caller: &Caller,
    ) -> Result<(Revised<view::Variable>, Written), PlaneError> {
        let changed_at_s = self.now_s();
        let (name, of) = (tenant.clone(), id.clone());
        let written = self
            .change(caller, |state| {
                let before = may_be_set(state, &name, &of, &write, precondition)?;
                let variable = Variable {
                    value: self.value(&name, &of, &write)?,
                    changed_at_s,
                };
                Ok(planned(name, of, before, variable))
            })
            .await?;
        Ok((self.show_variable(tenant, id)?, written))
    }

    /// Removes a variable.
    ///
    /// # Errors
    /// Where there is none, where the precondition does not hold, and those of every change.
    pub(super) async fn forget_variable(
        &self,
        tenant: &TenantName,
        id: &VariableId,
        precondition: Precondition,
        caller: &Caller,
    ) -> Result<(), PlaneError> {
        let (name, of) = (tenant.clone(), id.clone());
        self.change(caller, move |state| {
            let kept = tenant_in(state, &name)?.variables.get(&of);
            let kept = kept.ok_or_else(|| not_found(&name, &of))?;
            check(precondition, Some(kept.revision))?;
            let plan = Plan::new("variable.delete", Some(&name), of.to_string());
            Ok(plan
                .before(Some(shown(&of, &kept.value)))
                .edit(Edit::DeleteVariable {
                    tenant: name,
                    id: of,
                }))
        })
        .await?;
        Ok(())
    }

    /// What is kept of a value.
    fn value(
        &self,
        tenant: &TenantName,
        id: &VariableId,
        write: &VariableWrite,
    ) -> Result<Value, PlaneError> {
        let text = write.value.reveal();
        if !write.secret {
            return Ok(Value::Plain(text.into()));
        }
        let names = [tenant.as_ref(), id.as_str()];
        let sealed = self.secrets.seal(&names, text.as_bytes());
        let sealed = sealed.map_err(|error| internal(&error))?;
        Ok(Value::Sealed(sealed.into()))
    }

    /// The value that a module's guests read by this name: the module's own, else the tenant's if it was granted.
    ///
    /// # Errors
    /// [`Fault::NoSuch`]; [`Fault::Denied`] for one of the tenant that was not granted; [`Fault::Unavailable`] for a
    /// secret that does not open.
    pub(super) fn variable_for(
        &self,
        tenant: &str,
        module: &str,
        name: &str,
    ) -> Result<Given, Fault> {
        let (id, variable) = found_for(&self.read(), tenant, module, name)?;
        self.opened(tenant, &id, variable).map(Given::Text)
    }

    /// All that a module's guests may read, by name.
    ///
    /// # Errors
    /// [`Fault::Unavailable`] for a secret that does not open: what is left out would be taken for absent.
    pub(super) fn variables_for(&self, tenant: &str, module: &str) -> Result<Given, Fault> {
        let all = all_for(&self.read(), tenant, module);
        all.into_iter()
            .map(|(name, (id, variable))| Ok((name, self.opened(tenant, &id, variable)?)))
            .collect::<Result<_, _>>()
            .map(Given::Variables)
    }

    /// Opens a secret, which takes some microseconds: not while the state is held. It is not logged here where that fails,
    /// since guests may ask without end: [`report_locked`] has said so.
    fn opened(&self, tenant: &str, id: &VariableId, variable: Variable) -> Result<String, Fault> {
        let sealed = match variable.value {
            Value::Plain(text) => return Ok(text.into()),
            Value::Sealed(sealed) => sealed,
        };
        let unreadable = || Fault::Unavailable(format!("the secret \"{id}\" cannot be read"));
        let opened = self.secrets.open(&[tenant, id.as_str()], &sealed);
        let opened = opened.map_err(|_| unreadable())?;
        // What was sealed is text.
        String::from_utf8(opened.to_vec()).map_err(|_| unreadable())
    }
}

fn found_for(
    state: &State,
    tenant: &str,
    module: &str,
    name: &str,
) -> Result<(VariableId, Variable), Fault> {
    let none = || Fault::NoSuch(format!("there is no variable {name:?}"));
    let kept = state.tenants.get(tenant).ok_or_else(none)?;
    // A name with a `/` would be that of another module's.
    if !is_variable_name(name) {
        return Err(none());
    }
    let of = |id: &str| {
        let id: VariableId = id.parse().ok()?;
        let variable = kept.variables.get(&id)?.value.clone();
        Some((id, variable))
    };
    if let Some(own) = of(&format!("{module}/{name}")) {
        return Ok(own);
    }
    let tenants = of(name).ok_or_else(none)?;
    if granted(kept, module).any(|granted| granted == name) {
        Ok(tenants)
    } else {
        Err(Fault::Denied(format!(
            "the variable {name:?} was not granted to module {module:?}"
        )))
    }
}

fn all_for(state: &State, tenant: &str, module: &str) -> BTreeMap<String, (VariableId, Variable)> {
    let mut all = BTreeMap::new();
    let Some(kept) = state.tenants.get(tenant) else {
        return all;
    };
    let granted: Vec<_> = granted(kept, module).collect();
    let tenants = |id: &VariableId| id.module().is_none() && granted.contains(&id.name());
    let own = |id: &VariableId| id.module() == Some(module);
    // Those of the tenant first: the module's own take their places.
    let ids = kept.variables.keys();
    for id in ids
        .clone()
        .filter(|id| tenants(id))
        .chain(ids.filter(|id| own(id)))
    {
        if let Some(variable) = kept.variables.get(id) {
            all.insert(id.name().to_owned(), (id.clone(), variable.value.clone()));
        }
    }
    all
}

/// The tenant's variables that a module was granted.
fn granted<'a>(tenant: &'a Tenant, module: &str) -> impl Iterator<Item = &'a str> + use<'a> {
    let module = tenant.modules.get(module);
    module
        .and_then(|module| module.value.grants.as_deref())
        .into_iter()
        .flat_map(|grants| grants.variables.iter().map(String::as_str))
}

/// All rules of setting one; gives what is there.
fn may_be_set<'a>(
    state: &'a State,
    tenant: &TenantName,
    id: &VariableId,
    write: &VariableWrite,
    precondition: Precondition,
) -> Result<Option<&'a Variable>, PlaneError> {
    let found = tenant_in(state, tenant)?;
    if let Some(module) = id.module() {
        let module = module
            .parse()
            .map_err(|error: LabelError| internal(&error))?;
        module_in(found, tenant, &module)?;
    }
    let before = found.variables.get(id);
    check(precondition, before.map(|kept| kept.revision))?;
    write.check()?;
    room(
        "variables_max",
        found.limits.variables_max,
        found.variables.len(),
        before.is_some(),
    )?;
    Ok(before.map(|kept| &kept.value))
}

fn planned(
    tenant: TenantName,
    id: VariableId,
    before: Option<&Variable>,
    variable: Variable,
) -> Plan {
    // A secret is sealed with another nonce each time, and so never the same: an answer that it was so already would let
    // it be guessed.
    if before.is_some_and(|before| before.value == variable.value) {
        return Plan::nothing();
    }
    Plan::new("variable.put", Some(&tenant), id.to_string())
        .written(before.is_some())
        .before(before.map(|before| shown(&id, before)))
        .after(Some(shown(&id, &variable)))
        .edit(Edit::PutVariable {
            tenant,
            id,
            variable,
        })
}

pub(super) fn shown(id: &VariableId, variable: &Variable) -> view::Variable {
    let value = match &variable.value {
        Value::Plain(text) => Some(text.to_string()),
        Value::Sealed(_) => None,
    };
    view::Variable {
        id: id.clone(),
        secret: value.is_none(),
        value,
        changed_at: variable.changed_at_s,
    }
}

fn not_found(tenant: &TenantName, id: &VariableId) -> PlaneError {
    PlaneError::VariableNotFound {
        tenant: tenant.clone(),
        variable: id.clone(),
    }
}

/// What is stored.
pub(super) fn record(tenant: &TenantName, id: &VariableId, variable: &Variable) -> VariableRecord {
    let (secret, value) = match &variable.value {
        Value::Plain(text) => (false, text.as_bytes()),
        Value::Sealed(sealed) => (true, &**sealed),
    };
    VariableRecord {
        tenant: tenant.to_string(),
        variable: id.to_string(),
        secret,
        value: value.to_vec(),
        changed_at_s: variable.changed_at_s,
    }
}

/// What was stored.
pub(super) fn restored(record: VariableRecord) -> Result<Edit, RestoreError> {
    let value = if record.secret {
        Value::Sealed(record.value.into())
    } else {
        let text = String::from_utf8(record.value);
        let text = text.map_err(|error| RestoreError {
            what: "the value of a variable",
            value: record.variable.clone(),
            why: error.utf8_error().to_string(),
        })?;
        Value::Plain(text.into())
    };
    Ok(Edit::PutVariable {
        tenant: parse("a tenant name", &record.tenant)?,
        id: parse("a variable", &record.variable)?,
        variable: Variable {
            value,
            changed_at_s: record.changed_at_s,
        },
    })
}
