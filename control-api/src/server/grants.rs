//! What a module's guests may do beyond answering requests.

use axum::extract::State;
use axum::response::Response;
use edge_config::ModuleName;

use super::Api;
use super::access::{AdminTenant, ReadWork, TenantAccess};
use super::conditions::{GetCondition, PutCondition};
use super::extract::{InPath, InQuery, JsonBody, NoQuery};
use super::openapi::{PutProblems, TenantReadProblems};
use super::reply::{resource, written};
use crate::encode::percent;
use crate::problem::Fault;
use crate::view::Grants;

/// What a module's guests are granted.
///
/// The entity tag is the module's: it changes with uploads too.
#[utoipa::path(
    get,
    path = "/v1/tenants/{tenant}/modules/{module}/grants",
    tag = "modules",
    operation_id = "get_module_grants",
    params(
        ("tenant" = String, Path, description = "The tenant's name"),
        ("module" = String, Path, description = "The module's name"),
        ("If-None-Match" = Option<String>, Header, description = "304 where this is the current revision")
    ),
    responses(
        (status = 200, description = "What they are granted", body = Grants, headers(("ETag" = String))),
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
    let found = api.plane().module_grants(&access.tenant, &module).await?;
    resource(&condition, &found)
}

/// Says what a module's guests are granted: all of it, so that what is left out is not.
///
/// It holds from the next request on, for every version of the module, those to come included, and goes with the module.
#[utoipa::path(
    put,
    path = "/v1/tenants/{tenant}/modules/{module}/grants",
    tag = "modules",
    operation_id = "put_module_grants",
    params(
        ("tenant" = String, Path, description = "The tenant's name"),
        ("module" = String, Path, description = "The module's name"),
        ("If-Match" = Option<String>, Header, description = "Change only while this is the module's revision"),
        ("If-None-Match" = Option<String>, Header, description = "`*`: never holds, since every module has this")
    ),
    request_body(content = Grants, content_type = "application/json"),
    responses(
        (status = 200, description = "Changed, or already so", body = Grants, headers(("ETag" = String))),
        PutProblems
    ),
    security(("bearer" = ["node:admin", "tenant:admin"]))
)]
pub(super) async fn put(
    access: TenantAccess<AdminTenant>,
    State(api): State<Api>,
    InPath(module): InPath<ModuleName>,
    PutCondition(precondition): PutCondition,
    _: InQuery<NoQuery>,
    JsonBody(write): JsonBody<Grants>,
) -> Result<Response, Fault> {
    let location = format!(
        "/v1/tenants/{}/modules/{}/grants",
        percent(access.tenant.as_ref()),
        percent(module.as_ref())
    );
    let plane = api.plane();
    let (after, what) = api
        .change(async move {
            plane
                .put_module_grants(&access.tenant, &module, write, precondition, access.caller)
                .await
        })
        .await?;
    written(&after, what, &location)
}
