//! What a tenant's guests keep in key-value stores: listed, read, written and removed from outside.

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use edge_config::StoreName;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use super::Api;
use super::access::{AdminTenant, TenantAccess};
use super::extract::{InPath, InQuery, NoQuery, PageQuery, PathPart};
use super::openapi::{DeleteProblems, PutProblems, TenantReadProblems};
use super::reply::page;
use crate::encode::percent;
use crate::error::PlaneError;
use crate::problem::Fault;
use crate::view::{Page, StoreKey, Written};

/// Largest value that is read, in bytes: the most that a tenant can be allowed (`key_value_value_kib_max`).
const VALUE_BYTES_MAX: usize = 4 << 20;

/// A key, not looked into: the plane knows what it allows.
#[derive(Debug, Clone)]
pub(super) struct Key(pub(super) String);

impl PathPart for Key {
    const PART: &'static str = "key";

    fn read(text: &str) -> Result<Self, String> {
        Ok(Self(text.to_owned()))
    }
}

/// A store's keys in order.
#[utoipa::path(
    get,
    path = "/v1/tenants/{tenant}/stores/{store}/keys",
    tag = "stores",
    operation_id = "list_store_keys",
    params(
        ("tenant" = String, Path, description = "The tenant's name"),
        ("store" = String, Path, description = "The store's name; most programs use `default`"),
        ("limit" = Option<u16>, Query, description = "Most items, 1 to 1000; 100 where absent", minimum = 1, maximum = 1000),
        ("after" = Option<String>, Query, description = "`next_after` of the page before")
    ),
    responses((status = 200, description = "One page", body = Page<StoreKey>), TenantReadProblems),
    security(("bearer" = ["node:admin", "tenant:admin"]))
)]
pub(super) async fn list(
    access: TenantAccess<AdminTenant>,
    State(api): State<Api>,
    InPath(store): InPath<StoreName>,
    InQuery(query): InQuery<PageQuery>,
) -> Result<Response, Fault> {
    let request = query.request()?;
    let keys = api
        .plane()
        .store_keys(&access.tenant, &store, request.clone())
        .await?;
    let path = format!(
        "/v1/tenants/{}/stores/{}/keys",
        percent(access.tenant.as_ref()),
        percent(store.as_ref())
    );
    page(&path, &request, &keys)
}

/// The value of a key.
#[utoipa::path(
    get,
    path = "/v1/tenants/{tenant}/stores/{store}/keys/{key}",
    tag = "stores",
    operation_id = "get_store_value",
    params(
        ("tenant" = String, Path, description = "The tenant's name"),
        ("store" = String, Path, description = "The store's name"),
        ("key" = String, Path, description = "The key, percent-encoded")
    ),
    responses(
        (status = 200, description = "The value as it is", content_type = "application/octet-stream"),
        TenantReadProblems
    ),
    security(("bearer" = ["node:admin", "tenant:admin"]))
)]
pub(super) async fn show(
    access: TenantAccess<AdminTenant>,
    State(api): State<Api>,
    InPath(store): InPath<StoreName>,
    InPath(Key(key)): InPath<Key>,
    _: InQuery<NoQuery>,
) -> Result<Response, Fault> {
    let value = api
        .plane()
        .store_value(&access.tenant, &store, &key)
        .await?;
    let mut response = value.into_response();
    let octets = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(CONTENT_TYPE, octets);
    Ok(response)
}

/// Sets a key to the value in the body.
#[utoipa::path(
    put,
    path = "/v1/tenants/{tenant}/stores/{store}/keys/{key}",
    tag = "stores",
    operation_id = "put_store_value",
    params(
        ("tenant" = String, Path, description = "The tenant's name"),
        ("store" = String, Path, description = "The store's name"),
        ("key" = String, Path, description = "The key, percent-encoded; 1 to 1024 bytes")
    ),
    request_body(content_type = "application/octet-stream", description = "The value"),
    responses(
        (status = 201, description = "Set, and new"),
        (status = 204, description = "Set in the place of another value"),
        PutProblems
    ),
    security(("bearer" = ["node:admin", "tenant:admin"]))
)]
pub(super) async fn put(
    access: TenantAccess<AdminTenant>,
    State(api): State<Api>,
    InPath(store): InPath<StoreName>,
    InPath(Key(key)): InPath<Key>,
    _: InQuery<NoQuery>,
    body: Body,
) -> Result<Response, Fault> {
    let value = read(body).await?;
    let plane = api.plane();
    let what = api
        .change(async move {
            plane
                .put_store_value(&access.tenant, &store, &key, value, access.caller)
                .await
        })
        .await?;
    Ok(match what {
        Written::Created => StatusCode::CREATED,
        Written::Updated | Written::Unchanged => StatusCode::NO_CONTENT,
    }
    .into_response())
}

async fn read(body: Body) -> Result<Bytes, PlaneError> {
    let whole = Limited::new(body, VALUE_BYTES_MAX).collect().await;
    whole
        .map(http_body_util::Collected::to_bytes)
        .map_err(|error| {
            if error.is::<LengthLimitError>() {
                PlaneError::BodyTooLarge {
                    bytes_max: VALUE_BYTES_MAX as u64,
                }
            } else {
                PlaneError::BodyBrokenOff { received_bytes: 0 }
            }
        })
}

/// Removes a key.
#[utoipa::path(
    delete,
    path = "/v1/tenants/{tenant}/stores/{store}/keys/{key}",
    tag = "stores",
    operation_id = "delete_store_value",
    params(
        ("tenant" = String, Path, description = "The tenant's name"),
        ("store" = String, Path, description = "The store's name"),
        ("key" = String, Path, description = "The key, percent-encoded")
    ),
    responses((status = 204, description = "Removed"), DeleteProblems),
    security(("bearer" = ["node:admin", "tenant:admin"]))
)]
pub(super) async fn delete(
    access: TenantAccess<AdminTenant>,
    State(api): State<Api>,
    InPath(store): InPath<StoreName>,
    InPath(Key(key)): InPath<Key>,
    _: InQuery<NoQuery>,
) -> Result<Response, Fault> {
    let plane = api.plane();
    api.change(async move {
        plane
            .delete_store_value(&access.tenant, &store, &key, access.caller)
            .await
    })
    .await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
