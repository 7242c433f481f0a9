//! Answers: JSON with entity tags, pages with their links.

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, ETAG, LINK, LOCATION};
use http::{HeaderValue, StatusCode};
use serde::Serialize;

use super::conditions::{GetCondition, etag};
use crate::encode::percent;
use crate::problem::{Fault, RequestError};
use crate::view::{Page, PageRequest, Revised, Written};

/// A JSON answer.
pub(super) fn json<T: Serialize>(status: StatusCode, value: &T) -> Result<Response, Fault> {
    let body = serde_json::to_vec(value).map_err(|error| RequestError::TaskLost {
        inside: format!("an answer does not serialize: {error}"),
    })?;
    let mut response = (status, body).into_response();
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// One resource, or 304 where the client has it.
pub(super) fn resource<T: Serialize>(
    condition: &GetCondition,
    found: &Revised<T>,
) -> Result<Response, Fault> {
    let mut response = if condition.is_known(found.revision)? {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        json(StatusCode::OK, &found.value)?
    };
    response.headers_mut().insert(ETAG, etag(found.revision));
    Ok(response)
}

/// A resource after a write: 201 with its `Location` where it is new, else 200.
pub(super) fn written<T: Serialize>(
    after: &Revised<T>,
    written: Written,
    location: &str,
) -> Result<Response, Fault> {
    let status = match written {
        Written::Created => StatusCode::CREATED,
        Written::Updated | Written::Unchanged => StatusCode::OK,
    };
    let mut response = json(status, &after.value)?;
    let headers = response.headers_mut();
    headers.insert(ETAG, etag(after.revision));
    if written == Written::Created {
        headers.insert(LOCATION, header(location)?);
    }
    Ok(response)
}

/// A page, with a link to the next one (RFC 8288).
pub(super) fn page<T: Serialize>(
    path: &str,
    request: &PageRequest,
    page: &Page<T>,
) -> Result<Response, Fault> {
    let mut response = json(StatusCode::OK, page)?;
    if let Some(next) = &page.next_after {
        let link = format!(
            "<{path}?limit={}&after={}>; rel=\"next\"",
            request.limit,
            percent(next)
        );
        response.headers_mut().insert(LINK, header(&link)?);
    }
    Ok(response)
}

/// A header value from text that was percent-encoded here.
pub(super) fn header(text: &str) -> Result<HeaderValue, Fault> {
    HeaderValue::from_str(text).map_err(|error| {
        RequestError::TaskLost {
            inside: format!("a header cannot be written: {error}"),
        }
        .into()
    })
}
