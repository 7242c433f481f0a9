//! The upload: a signed statement in a header, a component's bytes as the body.
//!
//! Takes the request's body as a stream and hands it on unread: the first byte is asked for by the plane, once the
//! statement is good. A client that sent `Expect: 100-continue` learns by that whether to send at all. Nothing is
//! buffered here.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use edge_config::ModuleName;
use futures_util::StreamExt as _;
use http::header::{CONTENT_LENGTH, CONTENT_LOCATION, ETAG, HeaderName, LOCATION, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::Api;
use super::access::{Deploy, TenantAccess};
use super::conditions::{PutCondition, etag};
use super::extract::{DryRunQuery, InPath, InQuery, content_type};
use super::openapi::UploadProblems;
use super::reply::{header, json};
use crate::encode::percent;
use crate::error::PlaneError;
use crate::plane::{BodyError, Upload, UploadOutcome};
use crate::problem::Fault;
use crate::statement;
use crate::view::{Job, ModuleVersion, UploadDryRun, Written};

const PREFER: HeaderName = HeaderName::from_static("prefer");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
/// Seconds after which a job is worth polling.
const POLL_AFTER_S: u64 = 1;

/// Uploads a version of a module.
///
/// The header `Module-Signature` carries the publisher's statement: a compact JWS over tenant, module, version, digest,
/// `iat` and `exp`. It is checked before a byte of the body is read. Repeating an accepted upload is harmless.
#[utoipa::path(
    put,
    path = "/v1/tenants/{tenant}/modules/{module}",
    tag = "modules",
    operation_id = "upload_module",
    params(
        ("tenant" = String, Path, description = "The tenant's name"),
        ("module" = String, Path, description = "The module's name"),
        ("dry_run" = Option<bool>, Query, description = "Say what would happen and keep nothing; the statement may be left out"),
        ("Module-Signature" = Option<String>, Header, description = "The statement; needed unless `dry_run`"),
        ("Prefer" = Option<String>, Header, description = "`respond-async`: answer 202 as soon as the bytes are in"),
        ("If-Match" = Option<String>, Header, description = "Upload only while this is the module's revision"),
        ("If-None-Match" = Option<String>, Header, description = "`*`: only where there is no such module")
    ),
    request_body(
        description = "The component's bytes",
        content((ComponentBytes = "application/wasm"), (ComponentBytes = "application/octet-stream"))
    ),
    responses(
        (status = 200, description = "Accepted before and unchanged, as `ModuleVersion`; or what would happen, as `UploadDryRun`", body = inline(UploadAnswer), headers(("ETag" = String))),
        (status = 201, description = "Accepted, compiled and durable", body = ModuleVersion, headers(("ETag" = String), ("Location" = String))),
        (status = 202, description = "The bytes are in; poll the job at `Location`", body = Job, headers(("Location" = String), ("Preference-Applied" = String), ("Retry-After" = u64))),
        UploadProblems
    ),
    security(("bearer" = ["node:admin", "tenant:admin", "deploy"]))
)]
pub(super) async fn put(
    access: TenantAccess<Deploy>,
    State(api): State<Api>,
    InPath(module): InPath<ModuleName>,
    PutCondition(precondition): PutCondition,
    InQuery(query): InQuery<DryRunQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Fault> {
    content_type(
        &headers,
        "`application/wasm`, `application/octet-stream` or none",
        |essence| {
            matches!(
                essence,
                None | Some("application/wasm" | "application/octet-stream")
            )
        },
    )?;
    let statement = signature(&headers)?;
    if statement.is_none() && !query.dry_run {
        return Err(PlaneError::StatementMissing.into());
    }
    let tenant = percent(access.tenant.as_ref());
    let upload = Upload {
        tenant: access.tenant,
        module: module.clone(),
        statement,
        declared_bytes: headers
            .get(CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.parse().ok()),
        body: Box::pin(
            body.into_data_stream()
                .map(|chunk| chunk.map_err(|_| BodyError)),
        ),
        respond_async: prefers_async(&headers),
    };
    let plane = api.plane();
    if query.dry_run {
        let answer = plane.upload_dry_run(upload, precondition).await?;
        return json(StatusCode::OK, &answer);
    }
    let outcome = api
        .change(async move { plane.upload(upload, precondition, access.caller).await })
        .await?;
    match outcome {
        UploadOutcome::Done { version, written } => {
            let location = header(&format!(
                "/v1/tenants/{tenant}/modules/{}/versions/{}",
                percent(module.as_ref()),
                version.value.version
            ))?;
            let status = match written {
                Written::Created | Written::Updated => StatusCode::CREATED,
                Written::Unchanged => StatusCode::OK,
            };
            let mut response = json(status, &version.value)?;
            let headers = response.headers_mut();
            headers.insert(ETAG, etag(version.revision));
            // The body, and with it the tag, is the version's and not the module's (RFC 9110 §8.7).
            headers.insert(CONTENT_LOCATION, location.clone());
            if status == StatusCode::CREATED {
                headers.insert(LOCATION, location);
            }
            Ok(response)
        }
        UploadOutcome::Accepted(job) => {
            let mut response = json(StatusCode::ACCEPTED, &job)?;
            let headers = response.headers_mut();
            let location = format!("/v1/tenants/{tenant}/jobs/{}", percent(&job.id));
            headers.insert(LOCATION, header(&location)?);
            headers.insert(
                PREFERENCE_APPLIED,
                HeaderValue::from_static("respond-async"),
            );
            headers.insert(RETRY_AFTER, HeaderValue::from(POLL_AFTER_S));
            Ok(response)
        }
    }
}

/// A component in the binary format.
#[derive(utoipa::ToSchema)]
#[schema(value_type = String, format = Binary)]
#[expect(dead_code, reason = "only its schema is used")]
struct ComponentBytes(Vec<u8>);

/// The two bodies of a 200.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum UploadAnswer {
    Unchanged(Box<ModuleVersion>),
    DryRun(Box<UploadDryRun>),
}

fn signature(headers: &HeaderMap) -> Result<Option<String>, PlaneError> {
    let malformed = |why: &str| PlaneError::StatementMalformed {
        why: why.to_owned(),
    };
    let mut values = headers.get_all(statement::HEADER).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(malformed("`Module-Signature` is there more than once"));
    }
    let text = value
        .to_str()
        .map_err(|_| malformed("it has characters beyond ASCII"))?
        .trim();
    if text.len() > statement::BYTES_MAX {
        return Err(malformed(&format!(
            "it is longer than {} bytes",
            statement::BYTES_MAX
        )));
    }
    Ok(Some(text.to_owned()))
}

/// `Prefer: respond-async` (RFC 7240 §4.1), alone or among others.
fn prefers_async(headers: &HeaderMap) -> bool {
    headers
        .get_all(PREFER)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|preference| preference.split(';').next())
        .any(|preference| preference.trim().eq_ignore_ascii_case("respond-async"))
}
