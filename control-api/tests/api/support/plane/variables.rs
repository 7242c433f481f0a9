//! Variables.

use control_api::error::PlaneError;
use control_api::plane::Caller;
use control_api::view::*;
use edge_config::{TenantName, VariableId};

use super::state::{Result, State, holds, page, room};

impl State {
    pub(super) fn variables(
        &self,
        tenant: &TenantName,
        request: &PageRequest,
    ) -> Result<Page<Variable>> {
        let kept = self.owner(tenant)?.variables.iter();
        Ok(page(
            kept.map(|(id, kept)| (id, kept.value.clone())),
            request,
        ))
    }

    pub(super) fn variable(
        &self,
        tenant: &TenantName,
        id: &VariableId,
    ) -> Result<Revised<Variable>> {
        let found = self.owner(tenant)?.variables.get(id).cloned();
        found.ok_or_else(|| PlaneError::VariableNotFound {
            tenant: tenant.clone(),
            variable: id.clone(),
        })
    }

    pub(super) fn put_variable(
        &mut self,
        tenant: &TenantName,
        id: &VariableId,
        write: &VariableWrite,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<(Revised<Variable>, Written)> {
        let owner = self.owner(tenant)?;
        if let Some(module) = id.module() {
            owner.module(tenant, &module.parse().unwrap())?;
        }
        let there = owner.variables.get(id);
        holds(precondition, there.map(|kept| kept.revision))?;
        write.check()?;
        let value = (!write.secret).then(|| write.value.reveal().to_owned());
        let written = match there {
            Some(kept) if value.is_some() && kept.value.value == value => {
                return Ok((kept.clone(), Written::Unchanged));
            }
            Some(_) => Written::Updated,
            None => {
                let most = owner.limits()?.variables_max;
                room("variables_max", most, owner.variables.len())?;
                Written::Created
            }
        };
        let after = Revised {
            revision: self.record(caller, "variable.put", tenant, id.to_string()),
            value: Variable {
                id: id.clone(),
                secret: write.secret,
                value,
                changed_at: self.now,
            },
        };
        let owner = self.owner_mut(tenant)?;
        owner.variables.insert(id.clone(), after.clone());
        owner.values.insert(id.clone(), write.value.clone());
        Ok((after, written))
    }

    pub(super) fn delete_variable(
        &mut self,
        tenant: &TenantName,
        id: &VariableId,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<()> {
        holds(precondition, Some(self.variable(tenant, id)?.revision))?;
        let owner = self.owner_mut(tenant)?;
        owner.variables.remove(id);
        owner.values.remove(id);
        self.record(caller, "variable.delete", tenant, id.to_string());
        Ok(())
    }
}
