//! Tenants, and what their guests wrote.

use std::collections::BTreeMap;

use control_api::plane::{Caller, LogLines, LogQuery};
use control_api::view::*;
use edge_config::TenantName;
use futures_util::StreamExt as _;
use tokio::sync::broadcast;

use super::state::{Owner, Result, State, holds, limits, page};

impl State {
    pub(super) fn tenants(&self, request: &PageRequest) -> Result<Page<Tenant>> {
        let views: Vec<_> = self
            .tenants
            .iter()
            .map(|(name, owner)| Ok((name, owner.view(name)?.value)))
            .collect::<Result<_>>()?;
        Ok(page(views.into_iter(), request))
    }

    pub(super) fn holdings(&self, request: &PageRequest) -> Page<Holding> {
        let views = self.tenants.iter().map(|(name, owner)| {
            let modules = owner.modules.values().map(|module| &module.value);
            let held = modules.map(|module| HeldModule {
                name: module.name.clone(),
                active_version: module.active_version,
                highest_version: module.highest_version,
                digest: module.versions[0].digest,
                instances: module.instances,
                grants: module.grants.clone(),
            });
            let routes = owner.routes.iter().map(|(id, to)| HeldRoute {
                id: id.clone(),
                module: to.value.module.clone(),
                version: to.value.version,
            });
            let holding = Holding {
                tenant: name.clone(),
                limits: owner.write.limits,
                hosts: owner.write.hosts.clone(),
                suspended: owner.write.suspended,
                keys: owner.keys.values().map(|key| key.value.clone()).collect(),
                modules: held.collect(),
                routes: routes.collect(),
                variables: owner
                    .variables
                    .values()
                    .map(|one| one.value.clone())
                    .collect(),
            };
            (name, holding)
        });
        page(views, request)
    }

    pub(super) fn tenant(&self, tenant: &TenantName) -> Result<Revised<Tenant>> {
        self.owner(tenant)?.view(tenant)
    }

    pub(super) fn put_tenant(
        &mut self,
        tenant: &TenantName,
        write: TenantWrite,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<(Revised<Tenant>, Written)> {
        limits(&write)?;
        let there = self.tenants.get(tenant);
        holds(precondition, there.map(|owner| owner.revision))?;
        let written = match there {
            None => Written::Created,
            Some(owner) if owner.write == write => {
                return Ok((owner.view(tenant)?, Written::Unchanged));
            }
            Some(_) => Written::Updated,
        };
        let revision = self.record(caller, "tenant.put", tenant, tenant.to_string());
        let created_at = self.now;
        let owner = self.tenants.entry(tenant.clone()).or_insert_with(|| Owner {
            revision,
            created_at,
            write: TenantWrite::default(),
            keys: BTreeMap::new(),
            certificates: BTreeMap::new(),
            modules: BTreeMap::new(),
            highest: BTreeMap::new(),
            routes: BTreeMap::new(),
            variables: BTreeMap::new(),
            values: BTreeMap::new(),
            kept: BTreeMap::new(),
            databases: ["default"]
                .iter()
                .filter_map(|name| name.parse().ok())
                .collect(),
            lines: Vec::new(),
            live: broadcast::channel(64).0,
        });
        owner.revision = revision;
        owner.write = write;
        Ok((owner.view(tenant)?, written))
    }

    pub(super) fn delete_tenant(
        &mut self,
        tenant: &TenantName,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<()> {
        holds(precondition, Some(self.owner(tenant)?.revision))?;
        self.tenants.remove(tenant);
        self.record(caller, "tenant.delete", tenant, tenant.to_string());
        Ok(())
    }

    pub(super) fn usage(&self, tenant: &TenantName) -> Result<Usage> {
        let owner = self.owner(tenant)?;
        Ok(Usage {
            modules: owner.modules.len() as u64,
            routes: owner.routes.len() as u64,
            publisher_keys: owner.keys.len() as u64,
            certificates: owner.certificates.len() as u64,
            variables: owner.variables.len() as u64,
            limits: owner.limits()?,
            refusals: BTreeMap::from([("deadline".to_owned(), 2)]),
            ..Usage::default()
        })
    }

    pub(super) fn logs(&self, tenant: &TenantName, query: &LogQuery) -> Result<LogLines> {
        let owner = self.owner(tenant)?;
        let mut lines: Vec<_> = owner
            .lines
            .iter()
            .filter(|line| query.after_seq.is_none_or(|after| line.seq > after))
            .cloned()
            .collect();
        if let Some(most) = query.lines_max {
            lines.drain(..lines.len().saturating_sub(most));
        }
        let kept = futures_util::stream::iter(lines);
        if !query.follow {
            return Ok(Box::pin(kept));
        }
        let live = futures_util::stream::unfold(owner.live.subscribe(), async |mut live| {
            let line = live.recv().await.ok()?;
            Some((line, live))
        });
        Ok(Box::pin(kept.chain(live)))
    }

    /// A guest writes a line.
    pub(super) fn write_line(&mut self, tenant: &TenantName, text: &str) -> Result<()> {
        let at_ms = self.now * 1000;
        let owner = self.owner_mut(tenant)?;
        let line = LogLine {
            seq: owner.lines.last().map_or(1, |line| line.seq + 1),
            at_ms,
            module: "hello".to_owned(),
            request_id: "r".to_owned(),
            stream: LogStream::Stdout,
            text: text.to_owned(),
        };
        owner.lines.push(line.clone());
        // Nobody may be listening.
        let _ = owner.live.send(line);
        Ok(())
    }
}

impl Owner {
    fn view(&self, name: &TenantName) -> Result<Revised<Tenant>> {
        Ok(Revised {
            revision: self.revision,
            value: Tenant {
                name: name.clone(),
                created_at: self.created_at,
                limits: self.write.limits,
                effective_limits: self.limits()?,
                hosts: self.write.hosts.clone(),
                suspended: self.write.suspended,
            },
        })
    }
}
