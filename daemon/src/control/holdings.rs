//! Many tenants at once, each with all it has.

use control_api::view::{HeldModule, HeldRoute, Holding, Page, PageRequest};
use edge_config::{Digest, TenantName};

use super::state::{State, Tenant};
use super::{variables, views};

/// What a page weighs at most, in bytes, unless one tenant alone weighs more.
const PAGE_BYTES_MAX: usize = 4 << 20;

/// A page of tenants; it ends early where they have a lot.
pub(super) fn page(state: &State, request: &PageRequest) -> Page<Holding> {
    let after = request.after.as_deref().unwrap_or_default();
    let mut rest = state
        .tenants
        .iter()
        .filter(|(name, _)| name.as_ref() as &str > after)
        .peekable();
    let (mut items, mut bytes) = (Vec::new(), 0);
    while items.len() < request.limit
        && (items.is_empty() || bytes < PAGE_BYTES_MAX)
        && let Some((name, tenant)) = rest.next()
    {
        let holding = holding(name, tenant);
        bytes += holding.weight();
        items.push(holding);
    }
    let last = items.last().map(|holding| holding.tenant.to_string());
    Page {
        next_after: rest.peek().and(last),
        items,
    }
}

fn holding(name: &TenantName, tenant: &Tenant) -> Holding {
    let settings = &tenant.settings.value;
    let modules = tenant.modules.iter().map(|(name, module)| {
        let module = &module.value;
        let active = module.version(module.active_version);
        HeldModule {
            name: name.clone(),
            active_version: module.active_version,
            highest_version: module.highest_version,
            // The active version is always kept.
            digest: active.map_or(Digest::from_bytes([0; 32]), |version| version.digest),
            instances: views::instances(module),
            grants: views::grants(module),
        }
    });
    let routes = tenant.routes.iter().map(|(id, target)| HeldRoute {
        id: id.clone(),
        module: target.value.module.clone(),
        version: target.value.version,
    });
    let variables = tenant.variables.iter();
    Holding {
        tenant: name.clone(),
        limits: settings.overrides,
        hosts: settings.hosts.clone(),
        suspended: settings.suspended,
        keys: tenant
            .keys
            .iter()
            .map(|(kid, key)| views::key(kid, &key.value))
            .collect(),
        modules: modules.collect(),
        routes: routes.collect(),
        variables: variables
            .map(|(id, variable)| variables::shown(id, &variable.value))
            .collect(),
    }
}
