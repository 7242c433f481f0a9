//! Variables: values in, and out again where they are no secrets. In the path, the id of one of a module is
//! percent-encoded: `shop%2Fdb_url`.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use edge_config::VariableId;
use http::StatusCode;

use super::Api;
use super::access::{AdminTenant, ReadSettings, TenantAccess};
use super::conditions::{DeleteCondition, GetCondition, PutCondition};
use super::extract::{InPath, InQuery, JsonBody, NoQuery, PageQuery};
use super::openapi::{DeleteProblems, PutProblems, TenantReadProblems};
use super::reply::{page, resource, written};
use crate::encode::percent;
use crate::problem::Fault;
use crate::view::{Page, Variable, VariableWrite};

/// A tenant's variables in order of id, those of its modules among them; secrets without their values.
#[utoipa::path(
    get,
    path = "/v1/tenants/{tenant}/variables",
    tag = "variables",
    operation_id = "list_variables",
    params(
        ("tenant" = String, Path, description = "The tenant's name"),
        ("limit" = Option<u16>, Query, description = "Most items, 1 to 1000; 100 where absent", minimum = 1, maximum = 1000),
        ("after" = Option<String>, Query, description = "`next_after` of the page before")
    ),
    responses((status = 200, description = "One page", body = Page<Variable>), TenantReadProblems),
    security(("bearer" = ["node:admin", "node:read", "tenant:admin", "read"]))
)]
pub(super) async fn list(
    access: TenantAccess<ReadSettings>,
    State(api): State<Api>,
    InQuery(query): InQuery<PageQuery>,
) -> Result<Response, Fault> {
    let request = query.request()?;
    let variables = api
        .plane()
        .variables(&access.tenant, request.clone())
        .await?;
    let path = format!("/v1/tenants/{}/variables", percent(access.tenant.as_ref()));
    page(&path, &request, &variables)
}

/// One variable; a secret without its value.
#[utoipa::path(
    get,
    path = "/v1/tenants/{tenant}/variables/{variable}",
    tag = "variables",
    operation_id = "get_variable",
    params(
        ("tenant" = String, Path, description = "The tenant's name"),
        ("variable" = String, Path, description = "`name` for one of the tenant, `module%2Fname` for one of a module"),
        ("If-None-Match" = Option<String>, Header, description = "304 where this is the current revision")
    ),
    responses(
        (status = 200, description = "The variable", body = Variable, headers(("ETag" = String))),
        (status = 304, description = "The revision the client has"),
        TenantReadProblems
    ),
    security(("bearer" = ["node:admin", "node:read", "tenant:admin", "read"]))
)]
pub(super) async fn show(
    access: TenantAccess<ReadSettings>,
    State(api): State<Api>,
    InPath(variable): InPath<VariableId>,
    condition: GetCondition,
    _: InQuery<NoQuery>,
) -> Result<Response, Fault> {
    let found = api.plane().variable(&access.tenant, &variable).await?;
    resource(&condition, &found)
}

/// Sets a variable.
///
/// Guests read it from their next call on; nothing has to be deployed again. A variable of a module needs the module to be
/// there, and goes with it. A secret is kept encrypted and is in no answer; to write one again is always a change, since
/// an answer that it was so already would let it be guessed.
#[utoipa::path(
    put,
    path = "/v1/tenants/{tenant}/variables/{variable}",
    tag = "variables",
    operation_id = "put_variable",
    params(
        ("tenant" = String, Path, description = "The tenant's name"),
        ("variable" = String, Path, description = "`name` for one of the tenant, `module%2Fname` for one of a module"),
        ("If-Match" = Option<String>, Header, description = "Change only while this is the revision"),
        ("If-None-Match" = Option<String>, Header, description = "`*`: only create")
    ),
    request_body(content = VariableWrite, content_type = "application/json"),
    responses(
        (status = 200, description = "Changed, or already so", body = Variable, headers(("ETag" = String))),
        (status = 201, description = "Made", body = Variable, headers(("ETag" = String), ("Location" = String))),
        PutProblems
    ),
    security(("bearer" = ["node:admin", "tenant:admin"]))
)]
pub(super) async fn put(
    access: TenantAccess<AdminTenant>,
    State(api): State<Api>,
    InPath(variable): InPath<VariableId>,
    PutCondition(precondition): PutCondition,
    _: InQuery<NoQuery>,
    JsonBody(write): JsonBody<VariableWrite>,
) -> Result<Response, Fault> {
    let location = format!(
        "/v1/tenants/{}/variables/{}",
        percent(access.tenant.as_ref()),
        percent(variable.as_str())
    );
    let plane = api.plane();
    let (after, what) = api
        .change(async move {
            plane
                .put_variable(
                    &access.tenant,
                    &variable,
                    write,
                    precondition,
                    access.caller,
                )
                .await
        })
        .await?;
    written(&after, what, &location)
}

/// Removes a variable. Guests find none from their next call on.
#[utoipa::path(
    delete,
    path = "/v1/tenants/{tenant}/variables/{variable}",
    tag = "variables",
    operation_id = "delete_variable",
    params(
        ("tenant" = String, Path, description = "The tenant's name"),
        ("variable" = String, Path, description = "`name` for one of the tenant, `module%2Fname` for one of a module"),
        ("If-Match" = Option<String>, Header, description = "Remove only while this is the revision")
    ),
    responses((status = 204, description = "Removed"), DeleteProblems),
    security(("bearer" = ["node:admin", "tenant:admin"]))
)]
pub(super) async fn delete(
    access: TenantAccess<AdminTenant>,
    State(api): State<Api>,
    InPath(variable): InPath<VariableId>,
    DeleteCondition(precondition): DeleteCondition,
    _: InQuery<NoQuery>,
) -> Result<Response, Fault> {
    let plane = api.plane();
    api.change(async move {
        plane
            .delete_variable(&access.tenant, &variable, precondition, access.caller)
            .await
    })
    .await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
