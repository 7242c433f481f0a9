//! A tenant's SQL databases: listed, asked and removed from outside.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use edge_config::StoreName;
use http::StatusCode;

use super::Api;
use super::access::{AdminTenant, TenantAccess};
use super::extract::{InPath, InQuery, JsonBody, NoQuery, PageQuery, PathPart};
use super::openapi::{DeleteProblems, PutProblems, TenantReadProblems};
use super::reply::page;
use crate::encode::percent;
use crate::problem::Fault;
use crate::view::{Database, Page, SqlQuery, SqlResult};

/// A database's name; the same are allowed as for stores.
pub(super) struct Name(StoreName);

impl PathPart for Name {
    const PART: &'static str = "database";

    fn read(text: &str) -> Result<Self, String> {
        text.parse()
            .map(Self)
            .map_err(|error: edge_config::StoreNameError| error.to_string())
    }
}

/// A tenant's databases in order of name.
#[utoipa::path(
    get,
    path = "/v1/tenants/{tenant}/databases",
    tag = "databases",
    operation_id = "list_databases",
    params(
        ("tenant" = String, Path, description = "The tenant's name"),
        ("limit" = Option<u16>, Query, description = "Most items, 1 to 1000; 100 where absent", minimum = 1, maximum = 1000),
        ("after" = Option<String>, Query, description = "`next_after` of the page before")
    ),
    responses((status = 200, description = "One page", body = Page<Database>), TenantReadProblems),
    security(("bearer" = ["node:admin", "tenant:admin"]))
)]
pub(super) async fn list(
    access: TenantAccess<AdminTenant>,
    State(api): State<Api>,
    InQuery(query): InQuery<PageQuery>,
) -> Result<Response, Fault> {
    let request = query.request()?;
    let databases = api
        .plane()
        .databases(&access.tenant, request.clone())
        .await?;
    let path = format!("/v1/tenants/{}/databases", percent(access.tenant.as_ref()));
    page(&path, &request, &databases)
}

/// Removes a database. The connections that the tenant's guests have end, those to its other databases too.
#[utoipa::path(
    delete,
    path = "/v1/tenants/{tenant}/databases/{database}",
    tag = "databases",
    operation_id = "delete_database",
    params(
        ("tenant" = String, Path, description = "The tenant's name"),
        ("database" = String, Path, description = "The database's name; most programs use `default`")
    ),
    responses((status = 204, description = "Removed"), DeleteProblems),
    security(("bearer" = ["node:admin", "tenant:admin"]))
)]
pub(super) async fn delete(
    access: TenantAccess<AdminTenant>,
    State(api): State<Api>,
    InPath(Name(database)): InPath<Name>,
    _: InQuery<NoQuery>,
) -> Result<Response, Fault> {
    let plane = api.plane();
    api.change(async move {
        plane
            .delete_database(&access.tenant, &database, access.caller)
            .await
    })
    .await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Carries out one statement on a database, within what a guest of the tenant may use.
///
/// On a connection of its own: a transaction that the statement begins is rolled back.
#[utoipa::path(
    post,
    path = "/v1/tenants/{tenant}/databases/{database}/query",
    tag = "databases",
    operation_id = "query_database",
    params(
        ("tenant" = String, Path, description = "The tenant's name"),
        ("database" = String, Path, description = "The database's name; most programs use `default`")
    ),
    request_body(content = SqlQuery, content_type = "application/json"),
    responses(
        (status = 200, description = "What it gave", body = SqlResult),
        PutProblems
    ),
    security(("bearer" = ["node:admin", "tenant:admin"]))
)]
pub(super) async fn query(
    access: TenantAccess<AdminTenant>,
    State(api): State<Api>,
    InPath(Name(database)): InPath<Name>,
    _: InQuery<NoQuery>,
    JsonBody(query): JsonBody<SqlQuery>,
) -> Result<Response, Fault> {
    let plane = api.plane();
    let result = api
        .change(async move {
            plane
                .query_database(&access.tenant, &database, query, access.caller)
                .await
        })
        .await?;
    Ok(Json(result).into_response())
}
