//! What the admin API may ask, answered.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use control_api::error::PlaneError;
use control_api::plane::{
    BackupStream, Caller, ControlPlane, LogLines, LogQuery, Upload, UploadOutcome,
};
use control_api::view::{
    AuditEntry, BackupWrite, Certificate, CertificateWrite, Database, Grants, Holding, InstanceUse,
    Job, Module, ModuleVersion, NodeState, NodeStatus, Page, PageRequest, Precondition, PublicJwk,
    PublisherKey, Receipt, Reloaded, Revised, Route, RouteDryRun, RouteWrite, SqlQuery, SqlResult,
    StoreKey, Tenant, TenantWrite, Upgraded, UploadDryRun, Usage, Variable, VariableWrite, Written,
};
use edge_config::{
    CertificateName, HostPattern, KeyId, ModuleName, RouteId, StoreName, TenantName, VariableId,
};

use super::change::{Plan, check, revised};
use super::edit::Edit;
use super::state::{self, RouteTarget, State, TenantSettings};
use super::{Control, blocking};
use super::{holdings, views};

/// How long an answer waits for figures that are newer than the last report.
const FIGURES_PATIENCE: Duration = Duration::from_millis(200);
/// Hostname patterns one tenant's list may have.
const TENANT_HOSTS_MAX: usize = 256;

#[async_trait::async_trait]
impl ControlPlane for Control {
    fn state(&self) -> NodeState {
        self.standing()
    }

    fn ready(&self) -> Result<(), String> {
        match self.standing() {
            NodeState::Serving => {}
            NodeState::Starting => return Err("the node is starting".to_owned()),
            NodeState::Draining | NodeState::Stopped => {
                return Err("the node is draining".to_owned());
            }
        }
        if !self.supervisor().status().ready {
            return Err("no worker is ready".to_owned());
        }
        self.store_works()
    }

    async fn status(&self) -> Result<NodeStatus, PlaneError> {
        self.supervisor().fresh_figures(FIGURES_PATIENCE).await;
        let artifacts = self.artifact_count().await;
        let (running, waiting) = self.compile_queue_depth();
        let (tenants, modules, routes, revision) = {
            let state = self.read();
            (
                state.tenants.len(),
                state.module_count(),
                state.route_count(),
                state.seq,
            )
        };
        Ok(NodeStatus {
            node: self.config().node.name.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            wasmtime: wasmtime_version().to_owned(),
            state: self.standing(),
            uptime_s: self.uptime().as_secs(),
            http: self
                .supervisor()
                .listeners()
                .addresses()
                .iter()
                .map(ToString::to_string)
                .collect(),
            https: self
                .supervisor()
                .listeners()
                .secure_addresses()
                .iter()
                .map(ToString::to_string)
                .collect(),
            tenants: tenants as u64,
            modules: modules as u64,
            routes: routes as u64,
            artifacts,
            compile_queue: running + waiting,
            worker: self.supervisor().status(),
            revision,
        })
    }

    async fn metrics(&self) -> Result<String, PlaneError> {
        self.supervisor().fresh_figures(FIGURES_PATIENCE).await;
        self.render_metrics()
    }

    async fn reload(&self, caller: &Caller) -> Result<Reloaded, PlaneError> {
        self.reload_configuration(caller).await
    }

    async fn upgrade(&self, caller: &Caller) -> Result<Upgraded, PlaneError> {
        self.hand_over(caller).await
    }

    async fn audit(&self, page: PageRequest) -> Result<Page<AuditEntry>, PlaneError> {
        self.audit_page(page).await
    }

    async fn backup(&self, write: BackupWrite, caller: Caller) -> Result<BackupStream, PlaneError> {
        self.take_backup(write, &caller).await
    }

    async fn tenants(&self, page: PageRequest) -> Result<Page<Tenant>, PlaneError> {
        let state = self.read();
        Ok(paged(state.tenants.iter(), &page, |name, tenant| {
            views::tenant(name, &tenant.settings.value, *tenant.limits)
        }))
    }

    async fn holdings(&self, page: PageRequest) -> Result<Page<Holding>, PlaneError> {
        Ok(holdings::page(&self.read(), &page))
    }

    async fn tenant(&self, tenant: &TenantName) -> Result<Revised<Tenant>, PlaneError> {
        let state = self.read();
        let found = tenant_in(&state, tenant)?;
        Ok(revised(
            found.settings.revision,
            views::tenant(tenant, &found.settings.value, *found.limits),
        ))
    }

    async fn put_tenant(
        &self,
        tenant: &TenantName,
        write: TenantWrite,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<(Revised<Tenant>, Written), PlaneError> {
        if write.hosts.len() > TENANT_HOSTS_MAX {
            return Err(PlaneError::InvalidValue {
                field: "hosts".to_owned(),
                why: format!(
                    "{} patterns; at most {TENANT_HOSTS_MAX} are allowed",
                    write.hosts.len()
                ),
            });
        }
        let now = self.now_s();
        let memory_mib_max = self.instance_memory_mib_max();
        let guest_memory_mib_max = self.guest_memory_bytes_max() >> 20;
        if !self.read().tenants.contains_key(tenant) {
            self.forget_kept(tenant).await?;
        }
        let name = tenant.clone();
        let written = self
            .change(&caller, move |state| {
                let before = state.tenants.get(&name);
                check(precondition, before.map(|tenant| tenant.settings.revision))?;
                let limits = state.defaults().with(&write.limits).map_err(|error| PlaneError::InvalidValue {
                    field: format!("limits.{}", error.key()),
                    why: error.to_string(),
                })?;
                if limits.instance_memory_mib_max > memory_mib_max {
                    return Err(PlaneError::InvalidValue {
                        field: "limits.instance_memory_mib_max".to_owned(),
                        why: format!(
                            "{} MiB; on this box one instance can have at most {memory_mib_max} MiB",
                            limits.instance_memory_mib_max
                        ),
                    });
                }
                let guaranteed_mib = limits.memory_guaranteed_mib;
                let to_others: u64 = state
                    .tenants
                    .iter()
                    .filter(|(other, _)| **other != name)
                    .map(|(_, other)| other.limits.memory_guaranteed_mib)
                    .fold(0, u64::saturating_add);
                let left_mib = guest_memory_mib_max.saturating_sub(to_others);
                // What is there already is not taken away: a node may come up on a smaller box.
                let before_mib = before.map_or(0, |before| before.limits.memory_guaranteed_mib);
                if guaranteed_mib > left_mib && guaranteed_mib > before_mib {
                    return Err(PlaneError::InvalidValue {
                        field: "limits.memory_guaranteed_mib".to_owned(),
                        why: format!(
                            "{guaranteed_mib} MiB; {left_mib} MiB can still be guaranteed: guests have \
                             {guest_memory_mib_max} MiB on this node, of which {to_others} MiB are set aside for \
                             other tenants"
                        ),
                    });
                }
                let settings = TenantSettings {
                    created_at_s: before.map_or(now, |tenant| tenant.settings.value.created_at_s),
                    overrides: write.limits,
                    hosts: write.hosts,
                    suspended: write.suspended,
                };
                if before.is_some_and(|before| before.settings.value == settings) {
                    return Ok(Plan::nothing());
                }
                let plan = Plan::new("tenant.put", Some(&name), name.to_string()).written(before.is_some());
                Ok(plan
                    .before(before.map(|before| views::tenant(&name, &before.settings.value, *before.limits)))
                    .after(Some(views::tenant(&name, &settings, limits)))
                    .edit(Edit::PutTenant {
                        tenant: name,
                        settings: Box::new(settings),
                    }))
            })
            .await?;
        Ok((self.tenant(tenant).await?, written))
    }

    async fn delete_tenant(
        &self,
        tenant: &TenantName,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<(), PlaneError> {
        let name = tenant.clone();
        self.change(&caller, move |state| {
            let found = tenant_in(state, &name)?;
            check(precondition, Some(found.settings.revision))?;
            let floors = found.modules.iter().map(|(module, kept)| Edit::PutFloor {
                tenant: name.clone(),
                module: module.clone(),
                highest_version: kept.value.highest_version,
            });
            let plan = Plan::new("tenant.delete", Some(&name), name.to_string());
            Ok(plan
                .before(Some(views::tenant(
                    &name,
                    &found.settings.value,
                    *found.limits,
                )))
                .edits(floors)
                .edit(Edit::DeleteTenant {
                    tenant: name.clone(),
                }))
        })
        .await?;
        self.forget_tenant(tenant);
        self.retire_keys();
        self.forget_kept(tenant).await
    }

    async fn usage(&self, tenant: &TenantName) -> Result<Usage, PlaneError> {
        self.supervisor().fresh_figures(FIGURES_PATIENCE).await;
        let (me, name) = (self.me(), tenant.clone());
        // Where it cannot be opened, guests and the log have it.
        let kept = blocking(move || me.and_then(|me| me.storage.kept(name.as_str()).ok()))
            .await?
            .unwrap_or_default();
        let databases = self.databases_of(tenant).await?;
        let state = self.read();
        let found = tenant_in(&state, tenant)?;
        let versions = found
            .modules
            .values()
            .flat_map(|module| &module.value.versions);
        let totals = self.tenant_totals(tenant);
        Ok(Usage {
            requests: totals.requests,
            refusals: totals
                .refusals
                .into_iter()
                .map(|(reason, count)| (reason.to_string(), count))
                .collect(),
            request_body_bytes: totals.request_body_bytes,
            response_body_bytes: totals.response_body_bytes,
            cpu_us: totals.cpu_us,
            concurrent_requests: totals.concurrent_requests,
            waiting_requests: totals.waiting_requests,
            connections: totals.connections,
            quarantine_left_ms: totals.quarantine_left_ms,
            memory_bytes: totals.memory_bytes,
            modules: found.modules.len() as u64,
            routes: found.routes.len() as u64,
            publisher_keys: found.keys.len() as u64,
            variables: found.variables.len() as u64,
            key_value_keys: kept.keys,
            key_value_bytes: kept.bytes,
            databases: databases.len() as u64,
            database_bytes: databases.iter().map(|database| database.bytes).sum(),
            certificates: found.certificates.len() as u64,
            component_bytes: versions.map(|version| version.component_bytes).sum(),
            log_bytes_dropped: totals.log_bytes_dropped,
            worker_crashes: self.worker_crashes(tenant),
            limits: *found.limits,
        })
    }

    async fn receipt(&self, tenant: &TenantName) -> Result<Receipt, PlaneError> {
        self.give_receipt(tenant).await
    }

    async fn logs(&self, tenant: &TenantName, query: LogQuery) -> Result<LogLines, PlaneError> {
        tenant_in(&self.read(), tenant)?;
        self.log_lines(tenant, &query)
    }

    async fn keys(
        &self,
        tenant: &TenantName,
        page: PageRequest,
    ) -> Result<Page<PublisherKey>, PlaneError> {
        let state = self.read();
        Ok(paged(
            tenant_in(&state, tenant)?.keys.iter(),
            &page,
            |kid, key| views::key(kid, &key.value),
        ))
    }

    async fn key(
        &self,
        tenant: &TenantName,
        kid: &KeyId,
    ) -> Result<Revised<PublisherKey>, PlaneError> {
        let state = self.read();
        let found = tenant_in(&state, tenant)?.keys.get(kid);
        let key = found.ok_or_else(|| PlaneError::KeyNotFound {
            tenant: tenant.clone(),
            kid: kid.clone(),
        })?;
        Ok(revised(key.revision, views::key(kid, &key.value)))
    }

    async fn put_key(
        &self,
        tenant: &TenantName,
        kid: &KeyId,
        jwk: PublicJwk,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<(Revised<PublisherKey>, Written), PlaneError> {
        let public_key = jwk
            .bytes()
            .map_err(|(field, why)| PlaneError::InvalidValue {
                field: field.to_owned(),
                why,
            })?;
        let added_at_s = self.now_s();
        let (name, id) = (tenant.clone(), kid.clone());
        let written = self
            .change(&caller, move |state| {
                let found = tenant_in(state, &name)?;
                let before = found.keys.get(&id);
                check(precondition, before.map(|key| key.revision))?;
                if before.is_some_and(|before| before.value.public_key == public_key) {
                    return Ok(Plan::nothing());
                }
                room(
                    "publisher_keys_max",
                    found.limits.publisher_keys_max,
                    found.keys.len(),
                    before.is_some(),
                )?;
                let key = state::PublisherKey {
                    public_key,
                    added_at_s,
                };
                let plan =
                    Plan::new("key.put", Some(&name), id.to_string()).written(before.is_some());
                Ok(plan
                    .before(before.map(|before| views::key(&id, &before.value)))
                    .after(Some(views::key(&id, &key)))
                    .edit(Edit::PutKey {
                        tenant: name,
                        kid: id,
                        key,
                    }))
            })
            .await?;
        Ok((self.key(tenant, kid).await?, written))
    }

    async fn delete_key(
        &self,
        tenant: &TenantName,
        kid: &KeyId,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<(), PlaneError> {
        let (name, id) = (tenant.clone(), kid.clone());
        self.change(&caller, move |state| {
            let found = tenant_in(state, &name)?.keys.get(&id);
            let key = found.ok_or_else(|| PlaneError::KeyNotFound {
                tenant: name.clone(),
                kid: id.clone(),
            })?;
            check(precondition, Some(key.revision))?;
            let plan = Plan::new("key.delete", Some(&name), id.to_string());
            Ok(plan
                .before(Some(views::key(&id, &key.value)))
                .edit(Edit::DeleteKey {
                    tenant: name,
                    kid: id,
                }))
        })
        .await?;
        Ok(())
    }

    async fn certificates(
        &self,
        tenant: &TenantName,
        page: PageRequest,
    ) -> Result<Page<Certificate>, PlaneError> {
        self.list_certificates(tenant, &page)
    }

    async fn certificate(
        &self,
        tenant: &TenantName,
        certificate: &CertificateName,
    ) -> Result<Revised<Certificate>, PlaneError> {
        self.show_certificate(tenant, certificate)
    }

    async fn put_certificate(
        &self,
        tenant: &TenantName,
        certificate: &CertificateName,
        write: CertificateWrite,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<(Revised<Certificate>, Written), PlaneError> {
        self.set_certificate(tenant, certificate, write, precondition, &caller)
            .await
    }

    async fn delete_certificate(
        &self,
        tenant: &TenantName,
        certificate: &CertificateName,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<(), PlaneError> {
        self.forget_certificate(tenant, certificate, precondition, &caller)
            .await
    }

    async fn variables(
        &self,
        tenant: &TenantName,
        page: PageRequest,
    ) -> Result<Page<Variable>, PlaneError> {
        self.list_variables(tenant, &page)
    }

    async fn variable(
        &self,
        tenant: &TenantName,
        variable: &VariableId,
    ) -> Result<Revised<Variable>, PlaneError> {
        self.show_variable(tenant, variable)
    }

    async fn put_variable(
        &self,
        tenant: &TenantName,
        variable: &VariableId,
        write: VariableWrite,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<(Revised<Variable>, Written), PlaneError> {
        self.set_variable(tenant, variable, write, precondition, &caller)
            .await
    }

    async fn delete_variable(
        &self,
        tenant: &TenantName,
        variable: &VariableId,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<(), PlaneError> {
        self.forget_variable(tenant, variable, precondition, &caller)
            .await
    }

    async fn upload(
        &self,
        upload: Upload,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<UploadOutcome, PlaneError> {
        self.take_upload(upload, precondition, caller).await
    }

    async fn upload_dry_run(
        &self,
        upload: Upload,
        precondition: Precondition,
    ) -> Result<UploadDryRun, PlaneError> {
        self.try_upload(upload, precondition).await
    }

    async fn job(&self, tenant: &TenantName, id: &str) -> Result<Job, PlaneError> {
        self.jobs().get(tenant, id)
    }

    async fn modules(
        &self,
        tenant: &TenantName,
        page: PageRequest,
    ) -> Result<Page<Module>, PlaneError> {
        let state = self.read();
        Ok(paged(
            tenant_in(&state, tenant)?.modules.iter(),
            &page,
            |name, module| views::module(name, &module.value),
        ))
    }

    async fn module(
        &self,
        tenant: &TenantName,
        module: &ModuleName,
    ) -> Result<Revised<Module>, PlaneError> {
        let state = self.read();
        let found = module_in(tenant_in(&state, tenant)?, tenant, module)?;
        Ok(revised(found.revision, views::module(module, &found.value)))
    }

    async fn module_version(
        &self,
        tenant: &TenantName,
        module: &ModuleName,
        version: u64,
    ) -> Result<Revised<ModuleVersion>, PlaneError> {
        let state = self.read();
        let found = module_in(tenant_in(&state, tenant)?, tenant, module)?;
        let kept = found
            .value
            .version(version)
            .ok_or_else(|| version_not_found(module, version, &found.value))?;
        Ok(revised(found.revision, views::version(kept)))
    }

    async fn databases(
        &self,
        tenant: &TenantName,
        page: PageRequest,
    ) -> Result<Page<Database>, PlaneError> {
        self.database_page(tenant, page).await
    }

    async fn delete_database(
        &self,
        tenant: &TenantName,
        database: &StoreName,
        caller: Caller,
    ) -> Result<(), PlaneError> {
        self.remove_database(tenant, database, &caller).await
    }

    async fn query_database(
        &self,
        tenant: &TenantName,
        database: &StoreName,
        query: SqlQuery,
        caller: Caller,
    ) -> Result<SqlResult, PlaneError> {
        self.query(tenant, database, query, &caller).await
    }

    async fn store_keys(
        &self,
        tenant: &TenantName,
        store: &StoreName,
        page: PageRequest,
    ) -> Result<Page<StoreKey>, PlaneError> {
        self.store_keys(tenant, store, page).await
    }

    async fn store_value(
        &self,
        tenant: &TenantName,
        store: &StoreName,
        key: &str,
    ) -> Result<Vec<u8>, PlaneError> {
        self.store_value(tenant, store, key).await
    }

    async fn put_store_value(
        &self,
        tenant: &TenantName,
        store: &StoreName,
        key: &str,
        value: Bytes,
        caller: Caller,
    ) -> Result<Written, PlaneError> {
        self.put_store_value(tenant, store, key, value, &caller)
            .await
    }

    async fn delete_store_value(
        &self,
        tenant: &TenantName,
        store: &StoreName,
        key: &str,
        caller: Caller,
    ) -> Result<(), PlaneError> {
        self.delete_store_value(tenant, store, key, &caller).await
    }

    async fn module_grants(
        &self,
        tenant: &TenantName,
        module: &ModuleName,
    ) -> Result<Revised<Grants>, PlaneError> {
        self.grants(tenant, module)
    }

    async fn put_module_grants(
        &self,
        tenant: &TenantName,
        module: &ModuleName,
        write: Grants,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<(Revised<Grants>, Written), PlaneError> {
        self.set_grants(tenant, module, write, precondition, &caller)
            .await
    }

    async fn module_instances(
        &self,
        tenant: &TenantName,
        module: &ModuleName,
    ) -> Result<Revised<InstanceUse>, PlaneError> {
        self.instances(tenant, module)
    }

    async fn put_module_instances(
        &self,
        tenant: &TenantName,
        module: &ModuleName,
        write: InstanceUse,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<(Revised<InstanceUse>, Written), PlaneError> {
        self.set_instances(tenant, module, write, precondition, &caller)
            .await
    }

    async fn delete_module(
        &self,
        tenant: &TenantName,
        module: &ModuleName,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<(), PlaneError> {
        let (name, id) = (tenant.clone(), module.clone());
        self.change(&caller, move |state| {
            let tenant = tenant_in(state, &name)?;
            let found = module_in(tenant, &name, &id)?;
            check(precondition, Some(found.revision))?;
            let routes: Vec<_> = tenant
                .routes_of(&id)
                .map(|(route, _)| route.to_string())
                .collect();
            if !routes.is_empty() {
                return Err(PlaneError::ModuleInUse {
                    module: id.clone(),
                    routes: routes.join(", "),
                });
            }
            let plan = Plan::new("module.delete", Some(&name), id.to_string());
            let floor = Edit::PutFloor {
                tenant: name.clone(),
                module: id.clone(),
                highest_version: found.value.highest_version,
            };
            Ok(plan
                .before(Some(views::audited_module(&id, &found.value)))
                .edit(floor)
                .edit(Edit::DeleteModule {
                    tenant: name,
                    name: id,
                }))
        })
        .await?;
        self.collect_soon();
        Ok(())
    }

    async fn routes(
        &self,
        tenant: &TenantName,
        page: PageRequest,
    ) -> Result<Page<Route>, PlaneError> {
        let state = self.read();
        let found = tenant_in(&state, tenant)?;
        Ok(paged(found.routes.iter(), &page, |id, route| {
            views::route(id, &route.value, found)
        }))
    }

    async fn route(
        &self,
        tenant: &TenantName,
        route: &RouteId,
    ) -> Result<Revised<Route>, PlaneError> {
        let state = self.read();
        let found = tenant_in(&state, tenant)?;
        let target = found
            .routes
            .get(route)
            .ok_or_else(|| route_not_found(tenant, route))?;
        Ok(revised(
            target.revision,
            views::route(route, &target.value, found),
        ))
    }

    async fn put_route(
        &self,
        tenant: &TenantName,
        route: &RouteId,
        write: RouteWrite,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<(Revised<Route>, Written), PlaneError> {
        let (name, id) = (tenant.clone(), route.clone());
        let written = self
            .change(&caller, move |state| {
                let (tenant, before, target) = route_write(state, &name, &id, write, precondition)?;
                if before == Some(&target) {
                    return Ok(Plan::nothing());
                }
                let plan =
                    Plan::new("route.put", Some(&name), id.to_string()).written(before.is_some());
                Ok(plan
                    .before(before.map(|before| views::route(&id, before, tenant)))
                    .after(Some(views::route(&id, &target, tenant)))
                    .edit(Edit::PutRoute {
                        tenant: name,
                        id,
                        target,
                    }))
            })
            .await?;
        Ok((self.route(tenant, route).await?, written))
    }

    async fn put_route_dry_run(
        &self,
        tenant: &TenantName,
        route: &RouteId,
        write: RouteWrite,
        precondition: Precondition,
    ) -> Result<RouteDryRun, PlaneError> {
        let state = self.read();
        let (found, before, target) = route_write(&state, tenant, route, write, precondition)?;
        let would = match before {
            None => Written::Created,
            Some(before) if *before == target => Written::Unchanged,
            Some(_) => Written::Updated,
        };
        Ok(RouteDryRun {
            would,
            route: views::route(route, &target, found),
            before: before.map(|before| views::route(route, before, found)),
        })
    }

    async fn delete_route(
        &self,
        tenant: &TenantName,
        route: &RouteId,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<(), PlaneError> {
        let (name, id) = (tenant.clone(), route.clone());
        self.change(&caller, move |state| {
            let tenant = tenant_in(state, &name)?;
            let target = tenant
                .routes
                .get(&id)
                .ok_or_else(|| route_not_found(&name, &id))?;
            check(precondition, Some(target.revision))?;
            let plan = Plan::new("route.delete", Some(&name), id.to_string());
            Ok(plan
                .before(Some(views::route(&id, &target.value, tenant)))
                .edit(Edit::DeleteRoute { tenant: name, id }))
        })
        .await?;
        Ok(())
    }
}

/// All rules of setting a route, for doing it and for trying it.
fn route_write<'a>(
    state: &'a State,
    name: &TenantName,
    id: &RouteId,
    write: RouteWrite,
    precondition: Precondition,
) -> Result<(&'a state::Tenant, Option<&'a RouteTarget>, RouteTarget), PlaneError> {
    let tenant = tenant_in(state, name)?;
    let before = tenant.routes.get(id);
    check(precondition, before.map(|route| route.revision))?;
    let host = id.host();
    let allowed = &tenant.settings.value.hosts;
    if !allowed.is_empty() && !allowed.iter().any(|pattern| pattern.covers(host)) {
        let allowed: Vec<_> = allowed.iter().map(HostPattern::as_str).collect();
        return Err(PlaneError::HostNotAllowed {
            host: host.clone(),
            allowed: allowed.join(", "),
        });
    }
    if state.host_conflict(name, host) {
        return Err(PlaneError::HostTaken { host: host.clone() });
    }
    let module = module_in(tenant, name, &write.module)?;
    if let Some(version) = write.version
        && module.value.version(version).is_none()
    {
        return Err(version_not_found(&write.module, version, &module.value));
    }
    room(
        "routes_max",
        tenant.limits.routes_max,
        tenant.routes.len(),
        before.is_some(),
    )?;
    let target = RouteTarget {
        module: write.module,
        version: write.version,
    };
    Ok((tenant, before.map(|route| &route.value), target))
}

pub(super) fn tenant_in<'a>(
    state: &'a State,
    name: &TenantName,
) -> Result<&'a state::Tenant, PlaneError> {
    state
        .tenants
        .get(name)
        .map(Box::as_ref)
        .ok_or_else(|| PlaneError::TenantNotFound {
            tenant: name.clone(),
        })
}

pub(super) fn module_in<'a>(
    tenant: &'a state::Tenant,
    name: &TenantName,
    module: &ModuleName,
) -> Result<&'a state::Revised<state::Module>, PlaneError> {
    tenant
        .modules
        .get(module)
        .ok_or_else(|| PlaneError::ModuleNotFound {
            tenant: name.clone(),
            module: module.clone(),
        })
}

pub(super) fn version_not_found(
    module: &ModuleName,
    version: u64,
    kept: &state::Module,
) -> PlaneError {
    PlaneError::VersionNotFound {
        module: module.clone(),
        version,
        kept: kept.kept(),
    }
}

fn route_not_found(tenant: &TenantName, route: &RouteId) -> PlaneError {
    PlaneError::RouteNotFound {
        tenant: tenant.clone(),
        route: route.clone(),
    }
}

/// Whether one more fits under a count quota; replacing one always does.
pub(super) fn room(
    limit: &'static str,
    most: u64,
    have: usize,
    replaces: bool,
) -> Result<(), PlaneError> {
    if replaces || (have as u64) < most {
        Ok(())
    } else {
        Err(PlaneError::LimitReached { limit, most })
    }
}

/// One page of a map, in its order.
/// A page of what comes in order of its keys.
pub(super) fn paged<'a, K, V, T>(
    all: impl Iterator<Item = (&'a K, &'a V)>,
    page: &PageRequest,
    view: impl Fn(&K, &V) -> T,
) -> Page<T>
where
    K: std::fmt::Display + 'a,
    V: 'a,
{
    let after = |key: &K| {
        page.after
            .as_ref()
            .is_none_or(|after| key.to_string().as_str() > after.as_str())
    };
    let mut rest = all
        .filter(|(key, _)| after(key))
        .take(page.limit.saturating_add(1));
    let mut items = Vec::new();
    let mut last = None;
    for (key, value) in rest.by_ref().take(page.limit) {
        items.push(view(key, value));
        last = Some(key.to_string());
    }
    let next_after = if rest.next().is_some() { last } else { None };
    Page { items, next_after }
}

/// The release that is linked in.
fn wasmtime_version() -> &'static str {
    crate::artifact::name::WASMTIME_VERSION
}

/// The plane as the API server holds it.
#[must_use]
pub fn plane(control: Arc<Control>) -> Arc<dyn ControlPlane> {
    control
}
