//! Certificates: chains and private keys in, everything but the keys out.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use edge_config::CertificateName;
use http::StatusCode;

use super::Api;
use super::access::{AdminTenant, ReadSettings, TenantAccess};
use super::conditions::{DeleteCondition, GetCondition, PutCondition};
use super::extract::{InPath, InQuery, JsonBody, NoQuery, PageQuery};
use super::openapi::{DeleteProblems, PutProblems, TenantReadProblems};
use super::reply::{page, resource, written};
use crate::encode::percent;
use crate::problem::Fault;
use crate::view::{Certificate, CertificateWrite, Page};

/// A tenant's certificates in order of name.
#[utoipa::path(
    get,
    path = "/v1/tenants/{tenant}/certificates",
    tag = "certificates",
    operation_id = "list_certificates",
    params(
        ("tenant" = String, Path, description = "The tenant's name"),
        ("limit" = Option<u16>, Query, description = "Most items, 1 to 1000; 100 where absent", minimum = 1, maximum = 1000),
        ("after" = Option<String>, Query, description = "`next_after` of the page before")
    ),
    responses((status = 200, description = "One page", body = Page<Certificate>), TenantReadProblems),
    security(("bearer" = ["node:admin", "node:read", "tenant:admin", "read"]))
)]
pub(super) async fn list(
    access: TenantAccess<ReadSettings>,
    State(api): State<Api>,
    InQuery(query): InQuery<PageQuery>,
) -> Result<Response, Fault> {
    let request = query.request()?;
    let certificates = api
        .plane()
        .certificates(&access.tenant, request.clone())
        .await?;
    let path = format!(
        "/v1/tenants/{}/certificates",
        percent(access.tenant.as_ref())
    );
    page(&path, &request, &certificates)
}

/// One certificate.
#[utoipa::path(
    get,
    path = "/v1/tenants/{tenant}/certificates/{certificate}",
    tag = "certificates",
    operation_id = "get_certificate",
    params(
        ("tenant" = String, Path, description = "The tenant's name"),
        ("certificate" = String, Path, description = "The certificate's name"),
        ("If-None-Match" = Option<String>, Header, description = "304 where this is the current revision")
    ),
    responses(
        (status = 200, description = "The certificate, without its private key", body = Certificate, headers(("ETag" = String))),
        (status = 304, description = "The revision the client has"),
        TenantReadProblems
    ),
    security(("bearer" = ["node:admin", "node:read", "tenant:admin", "read"]))
)]
pub(super) async fn show(
    access: TenantAccess<ReadSettings>,
    State(api): State<Api>,
    InPath(certificate): InPath<CertificateName>,
    condition: GetCondition,
    _: InQuery<NoQuery>,
) -> Result<Response, Fault> {
    let found = api
        .plane()
        .certificate(&access.tenant, &certificate)
        .await?;
    resource(&condition, &found)
}

/// Serves a chain with its private key, from the next handshake on, in the place of the one of that name.
///
/// Connections that are open go on with what they began with. The key is kept encrypted and leaves the node in no answer.
#[utoipa::path(
    put,
    path = "/v1/tenants/{tenant}/certificates/{certificate}",
    tag = "certificates",
    operation_id = "put_certificate",
    params(
        ("tenant" = String, Path, description = "The tenant's name"),
        ("certificate" = String, Path, description = "The certificate's name"),
        ("If-Match" = Option<String>, Header, description = "Change only while this is the revision"),
        ("If-None-Match" = Option<String>, Header, description = "`*`: only create")
    ),
    request_body(content = CertificateWrite, content_type = "application/json"),
    responses(
        (status = 200, description = "Changed, or already so", body = Certificate, headers(("ETag" = String))),
        (status = 201, description = "Added", body = Certificate, headers(("ETag" = String), ("Location" = String))),
        PutProblems
    ),
    security(("bearer" = ["node:admin", "tenant:admin"]))
)]
pub(super) async fn put(
    access: TenantAccess<AdminTenant>,
    State(api): State<Api>,
    InPath(certificate): InPath<CertificateName>,
    PutCondition(precondition): PutCondition,
    _: InQuery<NoQuery>,
    JsonBody(write): JsonBody<CertificateWrite>,
) -> Result<Response, Fault> {
    let location = format!(
        "/v1/tenants/{}/certificates/{}",
        percent(access.tenant.as_ref()),
        percent(certificate.as_str())
    );
    let plane = api.plane();
    let (after, what) = api
        .change(async move {
            plane
                .put_certificate(
                    &access.tenant,
                    &certificate,
                    write,
                    precondition,
                    access.caller,
                )
                .await
        })
        .await?;
    written(&after, what, &location)
}

/// Forgets a certificate and its key. Handshakes for names that no other certificate is for are refused from then on; open
/// connections go on.
#[utoipa::path(
    delete,
    path = "/v1/tenants/{tenant}/certificates/{certificate}",
    tag = "certificates",
    operation_id = "delete_certificate",
    params(
        ("tenant" = String, Path, description = "The tenant's name"),
        ("certificate" = String, Path, description = "The certificate's name"),
        ("If-Match" = Option<String>, Header, description = "Remove only while this is the revision")
    ),
    responses((status = 204, description = "Removed"), DeleteProblems),
    security(("bearer" = ["node:admin", "tenant:admin"]))
)]
pub(super) async fn delete(
    access: TenantAccess<AdminTenant>,
    State(api): State<Api>,
    InPath(certificate): InPath<CertificateName>,
    DeleteCondition(precondition): DeleteCondition,
    _: InQuery<NoQuery>,
) -> Result<Response, Fault> {
    let plane = api.plane();
    api.change(async move {
        plane
            .delete_certificate(&access.tenant, &certificate, precondition, access.caller)
            .await
    })
    .await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
