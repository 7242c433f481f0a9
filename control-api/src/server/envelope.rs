//! The outermost layer: a request id, a problem where there is a fault, one line in the log.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::HeaderValue;
use http::header::CACHE_CONTROL;
use tracing::Instrument as _;

use crate::problem;
use crate::request_id::{HEADER, RequestId};

/// What belongs to one request, for handlers and for the log line.
#[derive(Debug, Clone)]
pub(super) struct RequestContext {
    /// Its id.
    pub(super) id: RequestId,
    /// Who sends it, once the token was checked.
    pub(super) who: Arc<OnceLock<String>>,
}

pub(super) async fn envelope(mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let context = RequestContext {
        id: RequestId::random(),
        who: Arc::default(),
    };
    let method = request.method().clone();
    // Outside text: shortened here, escaped by its debug form below.
    let path: String = request.uri().path().chars().take(512).collect();
    let client_id: Option<String> = request.headers().get(HEADER).map(|value| {
        String::from_utf8_lossy(value.as_bytes())
            .chars()
            .take(128)
            .collect()
    });
    request.extensions_mut().insert(context.clone());

    let span = tracing::info_span!("admin_request", request_id = %context.id);
    let response = next.run(request).instrument(span).await;
    let mut response = problem::render(response, context.id.as_str());

    let headers = response.headers_mut();
    headers.insert(
        HEADER,
        HeaderValue::from_str(context.id.as_str()).expect("hexadecimal digits are a header value"),
    );
    // Answers are about one caller's view at one moment.
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("private, no-cache"));
    tracing::info!(
        request_id = %context.id,
        method = %method,
        path = ?path,
        status = response.status().as_u16(),
        duration_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX),
        who = ?context.who.get(),
        client_request_id = ?client_id,
        "admin request"
    );
    response
}
