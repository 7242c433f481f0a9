//! Publisher keys: whose signatures a tenant trusts.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use edge_config::KeyId;
use http::StatusCode;

use super::Api;
use super::access::{AdminTenant, ReadSettings, TenantAccess};
use super::conditions::{DeleteCondition, GetCondition, PutCondition};
use super::extract::{InPath, InQuery, JsonBody, NoQuery, PageQuery};
use super::openapi::{DeleteProblems, PutProblems, TenantReadProblems};
use super::reply::{page, resource, written};
use crate::encode::percent;
use crate::error::PlaneError;
use crate::problem::Fault;
use crate::view::{Page, PublicJwk, PublisherKey};

/// A tenant's publisher keys in order of id.
#[utoipa::path(
    get,
    path = "/v1/tenants/{tenant}/keys",
    tag = "keys",
    operation_id = "list_keys",
    params(
        ("tenant" = String, Path, description = "The tenant's name"),
        ("limit" = Option<u16>, Query, description = "Most items, 1 to 1000; 100 where absent", minimum = 1, maximum = 1000),
        ("after" = Option<String>, Query, description = "`next_after` of the page before")
    ),
    responses((status = 200, description = "One page", body = Page<PublisherKey>), TenantReadProblems),
    security(("bearer" = ["node:admin", "node:read", "tenant:admin", "read"]))
)]
pub(super) async fn list(
    access: TenantAccess<ReadSettings>,
    State(api): State<Api>,
    InQuery(query): InQuery<PageQuery>,
) -> Result<Response, Fault> {
    let request = query.request()?;
    let keys = api.plane().keys(&access.tenant, request.clone()).await?;
    let path = format!("/v1/tenants/{}/keys", percent(access.tenant.as_ref()));
    page(&path, &request, &keys)
}

/// One publisher key.
#[utoipa::path(
    get,
    path = "/v1/tenants/{tenant}/keys/{kid}",
    tag = "keys",
    operation_id = "get_key",
    params(
        ("tenant" = String, Path, description = "The tenant's name"),
        ("kid" = String, Path, description = "The key's id"),
        ("If-None-Match" = Option<String>, Header, description = "304 where this is the current revision")
    ),
    responses(
        (status = 200, description = "The key", body = PublisherKey, headers(("ETag" = String))),
        (status = 304, description = "The revision the client has"),
        TenantReadProblems
    ),
    security(("bearer" = ["node:admin", "node:read", "tenant:admin", "read"]))
)]
pub(super) async fn show(
    access: TenantAccess<ReadSettings>,
    State(api): State<Api>,
    InPath(kid): InPath<KeyId>,
    condition: GetCondition,
    _: InQuery<NoQuery>,
) -> Result<Response, Fault> {
    resource(&condition, &api.plane().key(&access.tenant, &kid).await?)
}

/// Trusts a publisher's key.
#[utoipa::path(
    put,
    path = "/v1/tenants/{tenant}/keys/{kid}",
    tag = "keys",
    operation_id = "put_key",
    params(
        ("tenant" = String, Path, description = "The tenant's name"),
        ("kid" = String, Path, description = "The key's id: the `kid` of its statements"),
        ("If-Match" = Option<String>, Header, description = "Change only while this is the revision"),
        ("If-None-Match" = Option<String>, Header, description = "`*`: only create")
    ),
    request_body(content = PublicJwk, content_type = "application/json"),
    responses(
        (status = 200, description = "Changed, or already so", body = PublisherKey, headers(("ETag" = String))),
        (status = 201, description = "Added", body = PublisherKey, headers(("ETag" = String), ("Location" = String))),
        PutProblems
    ),
    security(("bearer" = ["node:admin", "tenant:admin"]))
)]
pub(super) async fn put(
    access: TenantAccess<AdminTenant>,
    State(api): State<Api>,
    InPath(kid): InPath<KeyId>,
    PutCondition(precondition): PutCondition,
    _: InQuery<NoQuery>,
    JsonBody(jwk): JsonBody<PublicJwk>,
) -> Result<Response, Fault> {
    check(&jwk, &kid)?;
    let location = format!(
        "/v1/tenants/{}/keys/{}",
        percent(access.tenant.as_ref()),
        percent(kid.as_str())
    );
    let plane = api.plane();
    let (after, what) = api
        .change(async move {
            plane
                .put_key(&access.tenant, &kid, jwk, precondition, access.caller)
                .await
        })
        .await?;
    written(&after, what, &location)
}

fn check(jwk: &PublicJwk, kid: &KeyId) -> Result<(), PlaneError> {
    jwk.bytes()
        .map_err(|(member, why)| PlaneError::InvalidValue {
            field: member.to_owned(),
            why,
        })?;
    match &jwk.kid {
        Some(own) if own != kid.as_str() => Err(PlaneError::InvalidValue {
            field: "kid".to_owned(),
            why: format!("the key's own id is not `{kid}`, the one in the path"),
        }),
        _ => Ok(()),
    }
}

/// Stops trusting a publisher's key; what it signed and was accepted stays.
#[utoipa::path(
    delete,
    path = "/v1/tenants/{tenant}/keys/{kid}",
    tag = "keys",
    operation_id = "delete_key",
    params(
        ("tenant" = String, Path, description = "The tenant's name"),
        ("kid" = String, Path, description = "The key's id"),
        ("If-Match" = Option<String>, Header, description = "Remove only while this is the revision")
    ),
    responses((status = 204, description = "Removed"), DeleteProblems),
    security(("bearer" = ["node:admin", "tenant:admin"]))
)]
pub(super) async fn delete(
    access: TenantAccess<AdminTenant>,
    State(api): State<Api>,
    InPath(kid): InPath<KeyId>,
    DeleteCondition(precondition): DeleteCondition,
    _: InQuery<NoQuery>,
) -> Result<Response, Fault> {
    let plane = api.plane();
    api.change(async move {
        plane
            .delete_key(&access.tenant, &kid, precondition, access.caller)
            .await
    })
    .await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
