//! Routes. In the path, a route's id is percent-encoded: `hello.localhost%2F`.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use edge_config::RouteId;
use http::StatusCode;

use super::Api;
use super::access::{Deploy, ReadWork, TenantAccess};
use super::conditions::{DeleteCondition, GetCondition, PutCondition};
use super::extract::{DryRunQuery, InPath, InQuery, JsonBody, NoQuery, PageQuery};
use super::openapi::{DeleteProblems, PutProblems, TenantReadProblems};
use super::reply::{json, page, resource, written};
use crate::encode::percent;
use crate::problem::Fault;
use crate::view::{Page, Route, RouteDryRun, RouteWrite};

/// A tenant's routes in order of id.
#[utoipa::path(
    get,
    path = "/v1/tenants/{tenant}/routes",
    tag = "routes",
    operation_id = "list_routes",
    params(
        ("tenant" = String, Path, description = "The tenant's name"),
        ("limit" = Option<u16>, Query, description = "Most items, 1 to 1000; 100 where absent", minimum = 1, maximum = 1000),
        ("after" = Option<String>, Query, description = "`next_after` of the page before")
    ),
    responses((status = 200, description = "One page", body = Page<Route>), TenantReadProblems),
    security(("bearer" = ["node:admin", "node:read", "tenant:admin", "deploy", "read"]))
)]
pub(super) async fn list(
    access: TenantAccess<ReadWork>,
    State(api): State<Api>,
    InQuery(query): InQuery<PageQuery>,
) -> Result<Response, Fault> {
    let request = query.request()?;
    let routes = api.plane().routes(&access.tenant, request.clone()).await?;
    let path = format!("/v1/tenants/{}/routes", percent(access.tenant.as_ref()));
    page(&path, &request, &routes)
}

/// One route.
#[utoipa::path(
    get,
    path = "/v1/tenants/{tenant}/routes/{route}",
    tag = "routes",
    operation_id = "get_route",
    params(
        ("tenant" = String, Path, description = "The tenant's name"),
        ("route" = String, Path, description = "The route's id, percent-encoded: `hello.localhost%2F`"),
        ("If-None-Match" = Option<String>, Header, description = "304 where this is the current revision")
    ),
    responses(
        (status = 200, description = "The route", body = Route, headers(("ETag" = String))),
        (status = 304, description = "The revision the client has"),
        TenantReadProblems
    ),
    security(("bearer" = ["node:admin", "node:read", "tenant:admin", "deploy", "read"]))
)]
pub(super) async fn show(
    access: TenantAccess<ReadWork>,
    State(api): State<Api>,
    InPath(route): InPath<RouteId>,
    condition: GetCondition,
    _: InQuery<NoQuery>,
) -> Result<Response, Fault> {
    resource(
        &condition,
        &api.plane().route(&access.tenant, &route).await?,
    )
}

/// Sets a route.
#[utoipa::path(
    put,
    path = "/v1/tenants/{tenant}/routes/{route}",
    tag = "routes",
    operation_id = "put_route",
    params(
        ("tenant" = String, Path, description = "The tenant's name"),
        ("route" = String, Path, description = "The route's id, percent-encoded: `hello.localhost%2F`"),
        ("dry_run" = Option<bool>, Query, description = "Say what would happen and change nothing"),
        ("If-Match" = Option<String>, Header, description = "Change only while this is the revision"),
        ("If-None-Match" = Option<String>, Header, description = "`*`: only create")
    ),
    request_body(content = RouteWrite, content_type = "application/json"),
    responses(
        (status = 200, description = "Changed, or already so, as `Route`; or what would happen, as `RouteDryRun`", body = inline(RouteAnswer), headers(("ETag" = String))),
        (status = 201, description = "Made", body = Route, headers(("ETag" = String), ("Location" = String))),
        PutProblems
    ),
    security(("bearer" = ["node:admin", "tenant:admin", "deploy"]))
)]
pub(super) async fn put(
    access: TenantAccess<Deploy>,
    State(api): State<Api>,
    InPath(route): InPath<RouteId>,
    PutCondition(precondition): PutCondition,
    InQuery(query): InQuery<DryRunQuery>,
    JsonBody(write): JsonBody<RouteWrite>,
) -> Result<Response, Fault> {
    let plane = api.plane();
    if query.dry_run {
        let answer = plane
            .put_route_dry_run(&access.tenant, &route, write, precondition)
            .await?;
        return json(StatusCode::OK, &answer);
    }
    let location = format!(
        "/v1/tenants/{}/routes/{}",
        percent(access.tenant.as_ref()),
        percent(route.as_str())
    );
    let (after, what) = api
        .change(async move {
            plane
                .put_route(&access.tenant, &route, write, precondition, access.caller)
                .await
        })
        .await?;
    written(&after, what, &location)
}

/// The two bodies of a 200.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum RouteAnswer {
    Written(Box<Route>),
    DryRun(Box<RouteDryRun>),
}

/// Removes a route.
#[utoipa::path(
    delete,
    path = "/v1/tenants/{tenant}/routes/{route}",
    tag = "routes",
    operation_id = "delete_route",
    params(
        ("tenant" = String, Path, description = "The tenant's name"),
        ("route" = String, Path, description = "The route's id, percent-encoded: `hello.localhost%2F`"),
        ("If-Match" = Option<String>, Header, description = "Remove only while this is the revision")
    ),
    responses((status = 204, description = "Removed"), DeleteProblems),
    security(("bearer" = ["node:admin", "tenant:admin", "deploy"]))
)]
pub(super) async fn delete(
    access: TenantAccess<Deploy>,
    State(api): State<Api>,
    InPath(route): InPath<RouteId>,
    DeleteCondition(precondition): DeleteCondition,
    _: InQuery<NoQuery>,
) -> Result<Response, Fault> {
    let plane = api.plane();
    api.change(async move {
        plane
            .delete_route(&access.tenant, &route, precondition, access.caller)
            .await
    })
    .await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
