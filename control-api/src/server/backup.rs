//! The whole node as one stream.

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::CONTENT_TYPE;

use super::Api;
use super::access::{AdminNode, NodeAccess};
use super::extract::{InQuery, JsonBody, NoQuery};
use super::openapi::BackupProblems;
use crate::problem::Fault;
use crate::view::BackupWrite;

/// Takes a backup while the node serves.
///
/// The answer is an archive as `littoral backup` keeps it and `littorald restore` reads it: the control state with its
/// audit log, components, what guests keep, and, under a passphrase, secrets. One that breaks off is not whole, and no
/// reader takes it for that. The control state is as of one change, and everything in key-value stores as of one commit,
/// with no change of the control state between the two. One backup is taken at a time; one whose reader takes nothing for
/// a minute is broken off.
#[utoipa::path(
    post,
    path = "/v1/backup",
    tag = "node",
    operation_id = "take_backup",
    request_body(content = BackupWrite, content_type = "application/json"),
    responses(
        (status = 200, description = "The archive", body = String, content_type = "application/octet-stream"),
        BackupProblems
    ),
    security(("bearer" = ["node:admin"]))
)]
pub(super) async fn take(
    access: NodeAccess<AdminNode>,
    State(api): State<Api>,
    _: InQuery<NoQuery>,
    JsonBody(write): JsonBody<BackupWrite>,
) -> Result<Response, Fault> {
    let archive = api.plane().backup(write, access.caller).await?;
    let octets = HeaderValue::from_static("application/octet-stream");
    Ok(([(CONTENT_TYPE, octets)], Body::from_stream(archive)).into_response())
}
