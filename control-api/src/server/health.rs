//! What is asked without a bearer JWT: liveness, readiness, metrics, and the API's own description.

use aws_lc_rs::constant_time;
use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};

use super::Api;
use super::openapi::{MetricsProblems, ReadyProblems, openapi_json};
use crate::auth::{AuthError, TokenFault};
use crate::problem::{Fault, RequestError};

fn text(content_type: &'static str, body: impl IntoResponse) -> Response {
    let mut response = body.into_response();
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Whether the process answers at all.
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "node",
    operation_id = "get_healthz",
    responses((status = 200, description = "It does", body = String, content_type = "text/plain")),
    security(())
)]
pub(super) async fn alive() -> Response {
    text("text/plain; charset=utf-8", "ok\n")
}

/// Whether requests for guests would be served now.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "node",
    operation_id = "get_readyz",
    responses(
        (status = 200, description = "They would", body = String, content_type = "text/plain"),
        ReadyProblems
    ),
    security(())
)]
pub(super) async fn ready(State(api): State<Api>) -> Result<Response, Fault> {
    api.plane()
        .ready()
        .map_err(|why| RequestError::NotReady { why })?;
    Ok(text("text/plain; charset=utf-8", "ready\n"))
}

/// The Prometheus text exposition (format 0.0.4).
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "node",
    operation_id = "get_metrics",
    responses(
        (status = 200, description = "All series", body = String, content_type = "text/plain; version=0.0.4"),
        MetricsProblems
    ),
    security((), ("metrics_token" = []))
)]
pub(super) async fn metrics(State(api): State<Api>, headers: HeaderMap) -> Result<Response, Fault> {
    if let Some(wanted) = &api.options.metrics_token {
        check_metrics_token(&headers, wanted)?;
    }
    let exposition = api.plane().metrics().await?;
    Ok(text("text/plain; version=0.0.4; charset=utf-8", exposition))
}

fn check_metrics_token(headers: &HeaderMap, wanted: &str) -> Result<(), AuthError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(AuthError::Missing)?;
    if values.next().is_some() {
        return Err(AuthError::Twice);
    }
    let sent = value
        .as_bytes()
        .split_at_checked("Bearer ".len())
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"Bearer "))
        .map(|(_, token)| token)
        .unwrap_or_default();
    // Digests have one length, so that the comparison tells nothing of the token's.
    let (sent, wanted) = (digest(&SHA256, sent), digest(&SHA256, wanted.as_bytes()));
    constant_time::verify_slices_are_equal(sent.as_ref(), wanted.as_ref()).map_err(|_| {
        TokenFault::Malformed {
            why: "it is not the configured metrics token".to_owned(),
        }
        .into()
    })
}

/// This document.
#[utoipa::path(
    get,
    path = "/v1/openapi.json",
    tag = "node",
    operation_id = "get_openapi",
    responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value)),
    security(())
)]
pub(super) async fn openapi() -> Response {
    text("application/json", openapi_json())
}
