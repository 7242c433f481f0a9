//! Modules and their versions; the upload has a room of its own.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use edge_config::ModuleName;
use http::StatusCode;

use super::Api;
use super::access::{AdminTenant, Deploy, ReadWork, TenantAccess};
use super::conditions::{DeleteCondition, GetCondition, PutCondition};
use super::extract::{InPath, InQuery, JsonBody, NoQuery, PageQuery, Version};
use super::openapi::{DeleteProblems, PutProblems, TenantReadProblems};
use super::reply::{page, resource, written};
use crate::encode::percent;
use crate::problem::Fault;
use crate::view::{InstanceUse, Module, ModuleVersion, Page};

/// A tenant's modules in order of name.
#[utoipa::path(
    get,
    path = "/v1/tenants/{tenant}/modules",
    tag = "modules",
    operation_id = "list_modules",
    params(
        ("tenant" = String, Path, description = "The tenant's name"),
        ("limit" = Option<u16>, Query, description = "Most items, 1 to 1000; 100 where absent", minimum = 1, maximum = 1000),
        ("after" = Option<String>, Query, description = "`next_after` of the page before")
    ),
    responses((status = 200, description = "One page", body = Page<Module>), TenantReadProblems),
    security(("bearer" = ["node:admin", "node:read", "tenant:admin", "deploy", "read"]))
)]
pub(super) async fn list(
    access: TenantAccess<ReadWork>,
    State(api): State<Api>,
    InQuery(query): InQuery<PageQuery>,
) -> Result<Response, Fault> {
    let request = query.request()?;
    let modules = api.plane().modules(&access.tenant, request.clone()).await?;
    let path = format!("/v1/tenants/{}/modules", percent(access.tenant.as_ref()));
    page(&path, &request, &modules)
}

/// One module with the versions it keeps.
#[utoipa::path(
    get,
    path = "/v1/tenants/{tenant}/modules/{module}",
    tag = "modules",
    operation_id = "get_module",
    params(
        ("tenant" = String, Path, description = "The tenant's name"),
        ("module" = String, Path, description = "The module's name"),
        ("If-None-Match" = Option<String>, Header, description = "304 where this is the current revision")
    ),
    responses(
        (status = 200, description = "The module", body = Module, headers(("ETag" = String))),
        (status = 304, description = "The revision the client has"),
        TenantReadProblems
    ),
    security(("bearer" = ["node:admin", "node:read", "tenant:admin", "deploy", "read"]))
)]
pub(super) async fn show(
    access: TenantAccess<ReadWork>,
    State(api): State<Api>,
    InPath(module): InPath<ModuleName>,
    condition: GetCondition,
    _: InQuery<NoQuery>,
) -> Result<Response, Fault> {
    resource(
        &condition,
        &api.plane().module(&access.tenant, &module).await?,
    )
}

/// One kept version of a module.
#[utoipa::path(
    get,
    path = "/v1/tenants/{tenant}/modules/{module}/versions/{version}",
    tag = "modules",
    operation_id = "get_module_version",
    params(
        ("tenant" = String, Path, description = "The tenant's name"),
        ("module" = String, Path, description = "The module's name"),
        ("version" = u64, Path, description = "The version"),
        ("If-None-Match" = Option<String>, Header, description = "304 where this is the current revision")
    ),
    responses(
        (status = 200, description = "The version", body = ModuleVersion, headers(("ETag" = String))),
        (status = 304, description = "The revision the client has"),
        TenantReadProblems
    ),
    security(("bearer" = ["node:admin", "node:read", "tenant:admin", "deploy", "read"]))
)]
pub(super) async fn version(
    access: TenantAccess<ReadWork>,
    State(api): State<Api>,
    InPath(module): InPath<ModuleName>,
    InPath(Version(version)): InPath<Version>,
    condition: GetCondition,
    _: InQuery<NoQuery>,
) -> Result<Response, Fault> {
    let found = api
        .plane()
        .module_version(&access.tenant, &module, version)
        .await?;
    resource(&condition, &found)
}

/// How a module's instances are used.
///
/// The entity tag is the module's: it changes with uploads too.
#[utoipa::path(
    get,
    path = "/v1/tenants/{tenant}/modules/{module}/instances",
    tag = "modules",
    operation_id = "get_module_instances",
    params(
        ("tenant" = String, Path, description = "The tenant's name"),
        ("module" = String, Path, description = "The module's name"),
        ("If-None-Match" = Option<String>, Header, description = "304 where this is the current revision")
    ),
    responses(
        (status = 200, description = "How they are used", body = InstanceUse, headers(("ETag" = String))),
        (status = 304, description = "The revision the client has"),
        TenantReadProblems
    ),
    security(("bearer" = ["node:admin", "node:read", "tenant:admin", "deploy", "read"]))
)]
pub(super) async fn instances(
    access: TenantAccess<ReadWork>,
    State(api): State<Api>,
    InPath(module): InPath<ModuleName>,
    condition: GetCondition,
    _: InQuery<NoQuery>,
) -> Result<Response, Fault> {
    let found = api
        .plane()
        .module_instances(&access.tenant, &module)
        .await?;
    resource(&condition, &found)
}

/// Says how a module's instances are used: all of it, so that figures left out are at their defaults.
///
/// It holds from the next request on, for every version of the module, those to come included, and goes with the module.
#[utoipa::path(
    put,
    path = "/v1/tenants/{tenant}/modules/{module}/instances",
    tag = "modules",
    operation_id = "put_module_instances",
    params(
        ("tenant" = String, Path, description = "The tenant's name"),
        ("module" = String, Path, description = "The module's name"),
        ("If-Match" = Option<String>, Header, description = "Change only while this is the module's revision"),
        ("If-None-Match" = Option<String>, Header, description = "`*`: never holds, since every module has this")
    ),
    request_body(content = InstanceUse, content_type = "application/json"),
    responses(
        (status = 200, description = "Changed, or already so", body = InstanceUse, headers(("ETag" = String))),
        PutProblems
    ),
    security(("bearer" = ["node:admin", "tenant:admin", "deploy"]))
)]
pub(super) async fn put_instances(
    access: TenantAccess<Deploy>,
    State(api): State<Api>,
    InPath(module): InPath<ModuleName>,
    PutCondition(precondition): PutCondition,
    _: InQuery<NoQuery>,
    JsonBody(write): JsonBody<InstanceUse>,
) -> Result<Response, Fault> {
    let location = format!(
        "/v1/tenants/{}/modules/{}/instances",
        percent(access.tenant.as_ref()),
        percent(module.as_ref())
    );
    let plane = api.plane();
    let (after, what) = api
        .change(async move {
            plane
                .put_module_instances(&access.tenant, &module, write, precondition, access.caller)
                .await
        })
        .await?;
    written(&after, what, &location)
}

/// Removes a module with its versions; refused while a route serves it.
#[utoipa::path(
    delete,
    path = "/v1/tenants/{tenant}/modules/{module}",
    tag = "modules",
    operation_id = "delete_module",
    params(
        ("tenant" = String, Path, description = "The tenant's name"),
        ("module" = String, Path, description = "The module's name"),
        ("If-Match" = Option<String>, Header, description = "Remove only while this is the revision")
    ),
    responses((status = 204, description = "Removed"), DeleteProblems),
    security(("bearer" = ["node:admin", "tenant:admin"]))
)]
pub(super) async fn delete(
    access: TenantAccess<AdminTenant>,
    State(api): State<Api>,
    InPath(module): InPath<ModuleName>,
    DeleteCondition(precondition): DeleteCondition,
    _: InQuery<NoQuery>,
) -> Result<Response, Fault> {
    let plane = api.plane();
    api.change(async move {
        plane
            .delete_module(&access.tenant, &module, precondition, access.caller)
            .await
    })
    .await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
