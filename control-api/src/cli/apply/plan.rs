//! From what is and what should be to steps, in the order in which they can be taken.
//!
//! Within a tenant: the tenant, whom it trusts, its own variables, its modules with what belongs to them, routes. Then what
//! is to go, the other way round: nothing is removed that something else still stands on.

use std::collections::BTreeMap;

use edge_config::{KeyId, ModuleName, RouteId, TenantName, VariableId};
use serde::Serialize;

use super::desired::{Desired, DesiredComponent, DesiredTenant};
use crate::view::{
    Grants, Holding, InstanceUse, PublicJwk, RouteWrite, TenantWrite, VariableWrite,
};

/// One change, and what is said of it.
pub(super) struct Step {
    pub(super) tenant: TenantName,
    pub(super) said: Said,
    pub(super) act: Act,
}

/// A change in words.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Said {
    /// `create`, `change` or `remove`.
    pub(super) how: How,
    /// What: a kind and a name.
    pub(super) what: String,
    /// From what to what, where that can be shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) detail: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum How {
    Create,
    Change,
    Remove,
}

impl How {
    pub(super) fn sign(self) -> char {
        match self {
            Self::Create => '+',
            Self::Change => '~',
            Self::Remove => '-',
        }
    }

    fn put(was_there: bool) -> Self {
        if was_there {
            Self::Change
        } else {
            Self::Create
        }
    }
}

/// What a step does.
pub(super) enum Act {
    /// Boxed: much larger than what the others carry.
    PutTenant(Box<TenantWrite>),
    PutKey(KeyId, PublicJwk),
    PutVariable(VariableId, VariableWrite),
    /// With the highest version ever accepted.
    Deploy(ModuleName, DesiredComponent, u64),
    PutInstances(ModuleName, InstanceUse),
    PutGrants(ModuleName, Grants),
    PutRoute(RouteId, RouteWrite),
    DeleteRoute(RouteId),
    DeleteModule(ModuleName),
    DeleteVariable(VariableId),
    DeleteKey(KeyId),
    DeleteTenant,
}

/// What is to be done, and what is not though files ask for it.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    /// What nobody asked for and only `--prune` would remove.
    pub(super) left: Vec<String>,
    /// Secrets that are there, whose values cannot be compared.
    pub(super) secrets_left: u64,
}

/// How far a plan goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reach {
    /// Remove what files do not describe.
    pub(super) prune: bool,
    /// Write secrets that are there again.
    pub(super) set_secrets: bool,
}

/// Compares what is with what should be.
///
/// # Errors
/// A module that is not there, and has no component to make it of.
pub(super) fn plan(
    desired: Desired,
    is: &BTreeMap<TenantName, Holding>,
    reach: Reach,
) -> Result<Plan, Vec<String>> {
    let (mut plan, mut faults) = (Plan::default(), Vec::new());
    for (name, tenant) in desired.tenants {
        let mut of = OfTenant {
            is: is.get(&name),
            name,
            reach,
            plan: &mut plan,
            faults: &mut faults,
        };
        of.compare(tenant);
    }
    for name in desired.remove {
        if is.contains_key(&name) {
            let mut of = OfTenant {
                is: None,
                name,
                reach,
                plan: &mut plan,
                faults: &mut faults,
            };
            let what = format!("tenant {} and all it has", of.name);
            of.remove(what, Act::DeleteTenant);
        }
    }
    if faults.is_empty() {
        Ok(plan)
    } else {
        Err(faults)
    }
}

struct OfTenant<'a> {
    name: TenantName,
    is: Option<&'a Holding>,
    reach: Reach,
    plan: &'a mut Plan,
    faults: &'a mut Vec<String>,
}

impl OfTenant<'_> {
    fn step(&mut self, how: How, what: String, detail: Option<String>, act: Act) {
        self.plan.steps.push(Step {
            tenant: self.name.clone(),
            said: Said { how, what, detail },
            act,
        });
    }

    fn remove(&mut self, what: String, act: Act) {
        if self.reach.prune {
            self.step(How::Remove, what, None, act);
        } else {
            self.plan.left.push(format!("{}: {what}", self.name));
        }
    }

    fn compare(&mut self, tenant: DesiredTenant) {
        self.settings(&tenant);
        self.keys(&tenant);
        let variables = tenant.variables.iter();
        for (id, write) in variables.filter(|(id, _)| id.module().is_none()) {
            self.variable(id, write);
        }
        self.modules(&tenant);
        self.routes(&tenant);
        self.surplus(&tenant);
    }

    fn settings(&mut self, tenant: &DesiredTenant) {
        let before = self.is.map(|is| TenantWrite {
            limits: is.limits,
            hosts: is.hosts.clone(),
            suspended: is.suspended,
        });
        if before.as_ref() == Some(&tenant.write) {
            return;
        }
        let detail = before
            .as_ref()
            .map(|before| differing(before, &tenant.write));
        let how = How::put(before.is_some());
        let what = format!("tenant {}", self.name);
        self.step(
            how,
            what,
            detail,
            Act::PutTenant(Box::new(tenant.write.clone())),
        );
    }

    fn keys(&mut self, tenant: &DesiredTenant) {
        for (kid, jwk) in tenant.keys.iter().flatten() {
            let before = self
                .is
                .and_then(|is| is.keys.iter().find(|key| key.kid == *kid));
            if before.is_some_and(|key| key.jwk.x == jwk.x) {
                continue;
            }
            let how = How::put(before.is_some());
            // The id that it is put under says it already.
            let mut jwk = jwk.clone();
            jwk.kid = None;
            self.step(
                how,
                format!("key {kid}"),
                None,
                Act::PutKey(kid.clone(), jwk),
            );
        }
    }

    fn variable(&mut self, id: &VariableId, write: &VariableWrite) {
        let before = self
            .is
            .and_then(|is| is.variables.iter().find(|one| one.id == *id));
        let (same, detail) = match before {
            None => (false, None),
            Some(before) if before.secret && write.secret => {
                if !self.reach.set_secrets {
                    self.plan.secrets_left += 1;
                }
                (!self.reach.set_secrets, None)
            }
            Some(before) => (
                before.secret == write.secret
                    && before.value.as_deref() == Some(write.value.reveal()),
                (before.secret != write.secret).then(|| {
                    let word = |secret| if secret { "secret" } else { "plain" };
                    format!("{} to {}", word(before.secret), word(write.secret))
                }),
            ),
        };
        if !same {
            let how = How::put(before.is_some());
            let secret = if write.secret { "secret" } else { "variable" };
            let act = Act::PutVariable(id.clone(), write.clone());
            self.step(how, format!("{secret} {id}"), detail, act);
        }
    }

    fn modules(&mut self, tenant: &DesiredTenant) {
        for (name, module) in tenant.modules.iter().flatten() {
            let before = self
                .is
                .and_then(|is| is.modules.iter().find(|one| one.name == *name));
            match &module.component {
                Some(component) if before.is_none_or(|is| is.digest != component.digest) => {
                    let detail = before.map(|is| format!("{} to {}", is.digest, component.digest));
                    let highest = before.map_or(0, |is| is.highest_version);
                    if component.sign_with.is_none() {
                        self.faults.push(format!(
                            "tenant `{}`: module `{name}` is to be deployed, and `sign_with` names no key to sign with",
                            self.name
                        ));
                    }
                    let act = Act::Deploy(name.clone(), component.clone(), highest);
                    let how = How::put(before.is_some());
                    self.step(how, format!("module {name}"), detail, act);
                }
                None if before.is_none() => self.faults.push(format!(
                    "tenant `{}`: module `{name}` is not on the node, and has no `component` to make it of",
                    self.name
                )),
                _ => {}
            }
            if let Some(instances) = module.instances
                && before.map_or(InstanceUse::default(), |is| is.instances) != instances
            {
                let detail = Some(instances.mode().to_owned());
                let act = Act::PutInstances(name.clone(), instances);
                self.step(
                    How::Change,
                    format!("instances of module {name}"),
                    detail,
                    act,
                );
            }
            let granted = before.map(|is| is.grants.clone()).unwrap_or_default();
            if let Some(grants) = &module.grants
                && granted != *grants
            {
                let detail = Some(differing(&granted, grants));
                let act = Act::PutGrants(name.clone(), grants.clone());
                self.step(How::Change, format!("grants of module {name}"), detail, act);
            }
            let own = tenant.variables.iter();
            for (id, write) in own.filter(|(id, _)| id.module() == Some(name.as_ref())) {
                self.variable(id, write);
            }
        }
    }

    fn routes(&mut self, tenant: &DesiredTenant) {
        for (id, write) in tenant.routes.iter().flatten() {
            let before = self
                .is
                .and_then(|is| is.routes.iter().find(|one| one.id == *id));
            let before = before.map(|is| RouteWrite {
                module: is.module.clone(),
                version: is.version,
            });
            if before.as_ref() == Some(write) {
                continue;
            }
            let said = |write: &RouteWrite| match write.version {
                None => write.module.to_string(),
                Some(version) => format!("{} version {version}", write.module),
            };
            let detail = match &before {
                None => format!("to {}", said(write)),
                Some(before) => format!("{} to {}", said(before), said(write)),
            };
            let how = How::put(before.is_some());
            let act = Act::PutRoute(id.clone(), write.clone());
            self.step(how, format!("route {id}"), Some(detail), act);
        }
    }

    /// What is there and not described, of the kinds that are described.
    fn surplus(&mut self, tenant: &DesiredTenant) {
        let Some(is) = self.is else { return };
        if let Some(routes) = &tenant.routes {
            for route in is.routes.iter().filter(|one| !routes.contains_key(&one.id)) {
                let act = Act::DeleteRoute(route.id.clone());
                self.remove(format!("route {}", route.id), act);
            }
        }
        let mut going = Vec::new();
        if let Some(modules) = &tenant.modules {
            for module in is
                .modules
                .iter()
                .filter(|one| !modules.contains_key(&one.name))
            {
                going.push(module.name.as_ref());
                let act = Act::DeleteModule(module.name.clone());
                self.remove(format!("module {} and its variables", module.name), act);
            }
        }
        for variable in &is.variables {
            let id = &variable.id;
            let managed = tenant
                .variables_of
                .contains(&id.module().map(str::to_owned));
            // Those of a module that goes do so with it.
            let goes = id.module().is_some_and(|module| going.contains(&module));
            if managed && !goes && !tenant.variables.contains_key(id) {
                self.remove(format!("variable {id}"), Act::DeleteVariable(id.clone()));
            }
        }
        if let Some(keys) = &tenant.keys {
            for key in is.keys.iter().filter(|one| !keys.contains_key(&one.kid)) {
                let act = Act::DeleteKey(key.kid.clone());
                self.remove(format!("key {}", key.kid), act);
            }
        }
    }
}

/// The members in which two values differ, with both.
fn differing<T: Serialize>(before: &T, after: &T) -> String {
    let members = |value: &T| match serde_json::to_value(value) {
        Ok(serde_json::Value::Object(members)) => members,
        _ => serde_json::Map::new(),
    };
    let (before, after) = (members(before), members(after));
    let changed = after
        .iter()
        .filter(|(name, value)| before.get(*name) != Some(value))
        .map(|(name, value)| {
            let old = before
                .get(name)
                .map(ToString::to_string)
                .unwrap_or_default();
            format!("{name}: {old} to {value}")
        });
    changed.collect::<Vec<_>>().join("; ")
}
