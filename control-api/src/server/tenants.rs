//! Tenants: only the operator makes, changes and removes them.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::Api;
use super::access::{
    AdminNode, AdminTenant, NodeAccess, ReadNode, ReadSettings, ReadWork, TenantAccess,
};
use super::conditions::{DeleteCondition, GetCondition, PutCondition};
use super::extract::{InQuery, JsonBody, NoQuery, PageQuery};
use super::openapi::{DeleteProblems, PutProblems, ReadProblems, TenantReadProblems};
use super::reply::{json, page, resource, written};
use crate::encode::percent;
use crate::problem::Fault;
use crate::view::{Holding, Page, Receipt, Tenant, TenantWrite, Usage};

/// Tenants in order of name.
#[utoipa::path(
    get,
    path = "/v1/tenants",
    tag = "tenants",
    operation_id = "list_tenants",
    params(
        ("limit" = Option<u16>, Query, description = "Most items, 1 to 1000; 100 where absent", minimum = 1, maximum = 1000),
        ("after" = Option<String>, Query, description = "`next_after` of the page before")
    ),
    responses((status = 200, description = "One page", body = Page<Tenant>), ReadProblems),
    security(("bearer" = ["node:admin", "node:read"]))
)]
pub(super) async fn list(
    _: NodeAccess<ReadNode>,
    State(api): State<Api>,
    InQuery(query): InQuery<PageQuery>,
) -> Result<Response, Fault> {
    let request = query.request()?;
    let tenants = api.plane().tenants(request.clone()).await?;
    page("/v1/tenants", &request, &tenants)
}

/// Tenants with all they have but certificates and what guests keep, in order of name.
///
/// A page ends early where its tenants have a lot, so that an answer stays within some MiB.
#[utoipa::path(
    get,
    path = "/v1/holdings",
    tag = "tenants",
    operation_id = "list_holdings",
    params(
        ("limit" = Option<u16>, Query, description = "Most items, 1 to 1000; 100 where absent", minimum = 1, maximum = 1000),
        ("after" = Option<String>, Query, description = "`next_after` of the page before")
    ),
    responses((status = 200, description = "One page", body = Page<Holding>), ReadProblems),
    security(("bearer" = ["node:admin", "node:read"]))
)]
pub(super) async fn holdings(
    _: NodeAccess<ReadNode>,
    State(api): State<Api>,
    InQuery(query): InQuery<PageQuery>,
) -> Result<Response, Fault> {
    let request = query.request()?;
    let holdings = api.plane().holdings(request.clone()).await?;
    page("/v1/holdings", &request, &holdings)
}

/// One tenant with its limits.
#[utoipa::path(
    get,
    path = "/v1/tenants/{tenant}",
    tag = "tenants",
    operation_id = "get_tenant",
    params(
        ("tenant" = String, Path, description = "The tenant's name"),
        ("If-None-Match" = Option<String>, Header, description = "304 where this is the current revision")
    ),
    responses(
        (status = 200, description = "The tenant", body = Tenant, headers(("ETag" = String))),
        (status = 304, description = "The revision the client has"),
        TenantReadProblems
    ),
    security(("bearer" = ["node:admin", "node:read", "tenant:admin", "read"]))
)]
pub(super) async fn show(
    access: TenantAccess<ReadSettings>,
    State(api): State<Api>,
    condition: GetCondition,
    _: InQuery<NoQuery>,
) -> Result<Response, Fault> {
    resource(&condition, &api.plane().tenant(&access.tenant).await?)
}

/// Makes a tenant, or replaces its settings.
#[utoipa::path(
    put,
    path = "/v1/tenants/{tenant}",
    tag = "tenants",
    operation_id = "put_tenant",
    params(
        ("tenant" = String, Path, description = "The tenant's name"),
        ("If-Match" = Option<String>, Header, description = "Change only while this is the revision"),
        ("If-None-Match" = Option<String>, Header, description = "`*`: only create")
    ),
    request_body(content = TenantWrite, content_type = "application/json"),
    responses(
        (status = 200, description = "Changed, or already so", body = Tenant, headers(("ETag" = String))),
        (status = 201, description = "Made", body = Tenant, headers(("ETag" = String), ("Location" = String))),
        PutProblems
    ),
    security(("bearer" = ["node:admin"]))
)]
pub(super) async fn put(
    access: TenantAccess<AdminNode>,
    State(api): State<Api>,
    PutCondition(precondition): PutCondition,
    _: InQuery<NoQuery>,
    JsonBody(write): JsonBody<TenantWrite>,
) -> Result<Response, Fault> {
    let location = format!("/v1/tenants/{}", percent(access.tenant.as_ref()));
    let plane = api.plane();
    let (after, what) = api
        .change(async move {
            plane
                .put_tenant(&access.tenant, write, precondition, access.caller)
                .await
        })
        .await?;
    written(&after, what, &location)
}

/// Removes a tenant with everything it has.
#[utoipa::path(
    delete,
    path = "/v1/tenants/{tenant}",
    tag = "tenants",
    operation_id = "delete_tenant",
    params(
        ("tenant" = String, Path, description = "The tenant's name"),
        ("If-Match" = Option<String>, Header, description = "Remove only while this is the revision")
    ),
    responses((status = 204, description = "Removed"), DeleteProblems),
    security(("bearer" = ["node:admin"]))
)]
pub(super) async fn delete(
    access: TenantAccess<AdminNode>,
    State(api): State<Api>,
    DeleteCondition(precondition): DeleteCondition,
    _: InQuery<NoQuery>,
) -> Result<Response, Fault> {
    let plane = api.plane();
    api.change(async move {
        plane
            .delete_tenant(&access.tenant, precondition, access.caller)
            .await
    })
    .await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// What a tenant uses, beside its limits.
#[utoipa::path(
    get,
    path = "/v1/tenants/{tenant}/usage",
    tag = "tenants",
    operation_id = "get_usage",
    params(("tenant" = String, Path, description = "The tenant's name")),
    responses((status = 200, description = "The figures", body = Usage), TenantReadProblems),
    security(("bearer" = ["node:admin", "node:read", "tenant:admin", "deploy", "read"]))
)]
pub(super) async fn usage(
    access: TenantAccess<ReadWork>,
    State(api): State<Api>,
    _: InQuery<NoQuery>,
) -> Result<Response, Fault> {
    json(StatusCode::OK, &api.plane().usage(&access.tenant).await?)
}

/// Gives a receipt of what a tenant used: a total that only rises, over restarts too, signed by the node.
///
/// Each receipt has the next number, and is counted before it is given. What was used between two is their difference.
#[utoipa::path(
    post,
    path = "/v1/tenants/{tenant}/receipts",
    tag = "tenants",
    operation_id = "give_receipt",
    params(("tenant" = String, Path, description = "The tenant's name")),
    responses((status = 200, description = "The receipt", body = Receipt), DeleteProblems),
    security(("bearer" = ["node:admin", "tenant:admin"]))
)]
pub(super) async fn receipt(
    access: TenantAccess<AdminTenant>,
    State(api): State<Api>,
    _: InQuery<NoQuery>,
) -> Result<Response, Fault> {
    let plane = api.plane();
    let receipt = api
        .change(async move { plane.receipt(&access.tenant).await })
        .await?;
    json(StatusCode::OK, &receipt)
}
