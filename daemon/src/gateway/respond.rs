//! Answers in a guest's place.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};

use super::body::GatewayBody;
use crate::quota::{RateState, Refused};

/// Carries the reason of a refusal.
pub(super) const REASON: HeaderName = HeaderName::from_static("x-littoral-reason");
/// Joins an answer with the log lines of its guest.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// The response for a refusal: RFC 9457, with nothing of the inside.
pub(super) fn refuse(refused: impl Into<Refused>, request_id: &str) -> Response<GatewayBody> {
    let refused = refused.into();
    let refusal = refused.refusal;
    let body = format!(
        "{{\"type\":\"https://littoral.dev/problems/{reason}\",\"title\":\"{title}\",\"status\":{status},\
         \"request_id\":\"{request_id}\"}}\n",
        reason = refusal.reason(),
        title = refusal.title(),
        status = refusal.status(),
    );
    let mut response = Response::new(GatewayBody::whole(Some(Bytes::from(body))));
    *response.status_mut() =
        StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REASON, HeaderValue::from_static(refusal.reason()));
    if let Some(seconds) = refused.retry_after_s {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let Some(rate) = refused.rate {
        limit_fields(headers, rate);
    }
    stamp(headers, request_id);
    response
}

/// What the tenant's rate is and what is left of it (draft-ietf-httpapi-ratelimit-headers-10, §§3 and 4).
fn limit_fields(headers: &mut http::HeaderMap, rate: RateState) {
    let RateState {
        quota,
        window_s,
        remaining,
        reset_s,
    } = rate;
    let fields = [
        (LIMIT_POLICY, format!("\"requests\";q={quota};w={window_s}")),
        (LIMIT, format!("\"requests\";r={remaining};t={reset_s}")),
    ];
    for (name, value) in fields {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
}

/// Puts the request id on a response, in place of any the guest set.
pub(super) fn stamp(headers: &mut http::HeaderMap, request_id: &str) {
    if let Ok(value) = HeaderValue::from_str(request_id) {
        headers.insert(REQUEST_ID, value);
    }
}
