//! Routes, and whose a hostname is.

use control_api::error::PlaneError;
use control_api::plane::Caller;
use control_api::view::*;
use edge_config::{HostPattern, RouteId, TenantName};

use super::modules::kept;
use super::state::{Owner, Result, State, holds, page};

impl State {
    pub(super) fn routes(&self, tenant: &TenantName, request: &PageRequest) -> Result<Page<Route>> {
        let owner = self.owner(tenant)?;
        let routes: Vec<_> = owner
            .routes
            .iter()
            .map(|(id, route)| Ok((id, owner.route(tenant, id, &route.value)?)))
            .collect::<Result<_>>()?;
        Ok(page(routes.into_iter(), request))
    }

    pub(super) fn route(&self, tenant: &TenantName, route: &RouteId) -> Result<Revised<Route>> {
        let owner = self.owner(tenant)?;
        let found = owner.routes.get(route);
        let found = found.ok_or_else(|| PlaneError::RouteNotFound {
            tenant: tenant.clone(),
            route: route.clone(),
        })?;
        Ok(Revised {
            revision: found.revision,
            value: owner.route(tenant, route, &found.value)?,
        })
    }

    pub(super) fn put_route(
        &mut self,
        tenant: &TenantName,
        route: &RouteId,
        write: RouteWrite,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<(Revised<Route>, Written)> {
        let answer = self.try_route(tenant, route, &write, precondition)?;
        if answer.would == Written::Unchanged {
            return Ok((self.route(tenant, route)?, Written::Unchanged));
        }
        let revision = self.record(caller, "route.put", tenant, route.to_string());
        let value = Revised {
            revision,
            value: write,
        };
        let routes = &mut self.owner_mut(tenant)?.routes;
        routes.insert(route.clone(), value);
        let route = Revised {
            revision,
            value: answer.route,
        };
        Ok((route, answer.would))
    }

    pub(super) fn try_route(
        &self,
        tenant: &TenantName,
        route: &RouteId,
        write: &RouteWrite,
        precondition: Precondition,
    ) -> Result<RouteDryRun> {
        let host = route.host();
        if self.holder(host).is_some_and(|holder| holder != tenant) {
            return Err(PlaneError::HostTaken { host: host.clone() });
        }
        let owner = self.owner(tenant)?;
        let there = owner.routes.get(route);
        holds(precondition, there.map(|found| found.revision))?;
        let allowed = &owner.write.hosts;
        if !allowed.is_empty() && !allowed.iter().any(|pattern| pattern.covers(host)) {
            return Err(PlaneError::HostNotAllowed {
                host: host.clone(),
                allowed: format!("{allowed:?}"),
            });
        }
        let before = there.map(|found| owner.route(tenant, route, &found.value));
        Ok(RouteDryRun {
            would: match there {
                None => Written::Created,
                Some(found) if found.value == *write => Written::Unchanged,
                Some(_) => Written::Updated,
            },
            route: owner.route(tenant, route, write)?,
            before: before.transpose()?,
        })
    }

    pub(super) fn delete_route(
        &mut self,
        tenant: &TenantName,
        route: &RouteId,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<()> {
        holds(precondition, Some(self.route(tenant, route)?.revision))?;
        self.owner_mut(tenant)?.routes.remove(route);
        self.record(caller, "route.delete", tenant, route.to_string());
        Ok(())
    }

    fn holder(&self, host: &HostPattern) -> Option<&TenantName> {
        let mut tenants = self.tenants.iter();
        let holds = |owner: &Owner| owner.routes.keys().any(|route| route.host() == host);
        tenants
            .find(|(_, owner)| holds(owner))
            .map(|(name, _)| name)
    }
}

impl Owner {
    fn route(&self, tenant: &TenantName, id: &RouteId, write: &RouteWrite) -> Result<Route> {
        let module = &self.module(tenant, &write.module)?.value;
        if let Some(version) = write.version {
            kept(module, version)?;
        }
        Ok(Route {
            id: id.clone(),
            host: id.host().clone(),
            path: id.path().clone(),
            module: write.module.clone(),
            version: write.version,
            serves_version: write.version.unwrap_or(module.active_version),
        })
    }
}
