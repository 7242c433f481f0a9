//! Calls about modules, jobs and routes; the upload has a room of its own.

use edge_config::{ModuleName, RouteId, TenantName};
use http::Method;

use super::request::conditional;
use super::{Client, ClientError, Put};
use crate::view::{
    Grants, InstanceUse, Job, Module, ModuleVersion, Page, PageRequest, Precondition, Revised,
    Route, RouteDryRun, RouteWrite,
};

impl Client {
    /// A tenant's modules in order of name.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn modules(
        &self,
        tenant: &TenantName,
        page: &PageRequest,
    ) -> Result<Page<Module>, ClientError> {
        self.get_page(&["v1", "tenants", tenant.as_ref(), "modules"], page)
            .await
    }

    /// One module.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn module(
        &self,
        tenant: &TenantName,
        module: &ModuleName,
    ) -> Result<Revised<Module>, ClientError> {
        self.get_revised(&["v1", "tenants", tenant.as_ref(), "modules", module.as_ref()])
            .await
    }

    /// One kept version.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn module_version(
        &self,
        tenant: &TenantName,
        module: &ModuleName,
        version: u64,
    ) -> Result<Revised<ModuleVersion>, ClientError> {
        let version = version.to_string();
        let (tenant, module) = (tenant.as_ref(), module.as_ref());
        let path = [
            "v1", "tenants", tenant, "modules", module, "versions", &version,
        ];
        self.get_revised(&path).await
    }

    /// What a module's guests are granted.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn module_grants(
        &self,
        tenant: &TenantName,
        module: &ModuleName,
    ) -> Result<Revised<Grants>, ClientError> {
        let (tenant, module) = (tenant.as_ref(), module.as_ref());
        self.get_revised(&["v1", "tenants", tenant, "modules", module, "grants"])
            .await
    }

    /// Says what a module's guests are granted.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn put_module_grants(
        &self,
        tenant: &TenantName,
        module: &ModuleName,
        write: &Grants,
        precondition: Precondition,
    ) -> Result<Put<Grants>, ClientError> {
        let (tenant, module) = (tenant.as_ref(), module.as_ref());
        let path = ["v1", "tenants", tenant, "modules", module, "grants"];
        self.put_json(&path, write, precondition).await
    }

    /// How a module's instances are used.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn module_instances(
        &self,
        tenant: &TenantName,
        module: &ModuleName,
    ) -> Result<Revised<InstanceUse>, ClientError> {
        let (tenant, module) = (tenant.as_ref(), module.as_ref());
        self.get_revised(&["v1", "tenants", tenant, "modules", module, "instances"])
            .await
    }

    /// Says how a module's instances are used.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn put_module_instances(
        &self,
        tenant: &TenantName,
        module: &ModuleName,
        write: &InstanceUse,
        precondition: Precondition,
    ) -> Result<Put<InstanceUse>, ClientError> {
        let (tenant, module) = (tenant.as_ref(), module.as_ref());
        let path = ["v1", "tenants", tenant, "modules", module, "instances"];
        self.put_json(&path, write, precondition).await
    }

    /// Removes a module with its versions.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn delete_module(
        &self,
        tenant: &TenantName,
        module: &ModuleName,
        precondition: Precondition,
    ) -> Result<(), ClientError> {
        let path = ["v1", "tenants", tenant.as_ref(), "modules", module.as_ref()];
        self.delete(&path, precondition).await
    }

    /// Where an upload stands.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn job(&self, tenant: &TenantName, id: &str) -> Result<Job, ClientError> {
        self.get(&["v1", "tenants", tenant.as_ref(), "jobs", id])
            .await
    }

    /// A tenant's routes in order of id.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn routes(
        &self,
        tenant: &TenantName,
        page: &PageRequest,
    ) -> Result<Page<Route>, ClientError> {
        self.get_page(&["v1", "tenants", tenant.as_ref(), "routes"], page)
            .await
    }

    /// One route.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn route(
        &self,
        tenant: &TenantName,
        route: &RouteId,
    ) -> Result<Revised<Route>, ClientError> {
        self.get_revised(&["v1", "tenants", tenant.as_ref(), "routes", route.as_str()])
            .await
    }

    /// Sets a route.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn put_route(
        &self,
        tenant: &TenantName,
        route: &RouteId,
        write: &RouteWrite,
        precondition: Precondition,
    ) -> Result<Put<Route>, ClientError> {
        let path = ["v1", "tenants", tenant.as_ref(), "routes", route.as_str()];
        self.put_json(&path, write, precondition).await
    }

    /// What setting a route would do.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn put_route_dry_run(
        &self,
        tenant: &TenantName,
        route: &RouteId,
        write: &RouteWrite,
        precondition: Precondition,
    ) -> Result<RouteDryRun, ClientError> {
        let path = ["v1", "tenants", tenant.as_ref(), "routes", route.as_str()];
        let request = self
            .request(Method::PUT, &path)?
            .query(&[("dry_run", "true")])
            .json(write);
        let answer = self.send(conditional(request, precondition)).await?;
        self.json(answer).await
    }

    /// Removes a route.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn delete_route(
        &self,
        tenant: &TenantName,
        route: &RouteId,
        precondition: Precondition,
    ) -> Result<(), ClientError> {
        let path = ["v1", "tenants", tenant.as_ref(), "routes", route.as_str()];
        self.delete(&path, precondition).await
    }
}
