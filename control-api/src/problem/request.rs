//! Requests that this API does not understand, axum's own rejections included.

use axum::extract::rejection::QueryRejection;
use axum::response::Response;
use http::StatusCode;
use http::header::CONTENT_TYPE;

use super::{Answer, Kind, MEDIA_TYPE, is_error};

/// Seconds after which a refused log follower may try again.
const RETRY_AFTER_FOLLOWER_S: u64 = 10;
/// Seconds after which readiness may be asked again.
const RETRY_AFTER_READY_S: u64 = 1;

/// Why a request is refused before the plane is asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RequestError {
    /// No such path.
    #[error("there is nothing at this path; /v1/openapi.json lists what there is")]
    PathUnknown,
    /// The path is there, the method is not.
    #[error("this path does not take this method; the header `Allow` lists those it takes")]
    MethodNotAllowed,
    /// A name in the path breaks its rules.
    #[error("`{name}` in the path: {why}")]
    Path {
        /// Which part of the path.
        name: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A query parameter is unknown or has a value that is not allowed.
    #[error("{why}")]
    Query {
        /// What is wrong.
        why: String,
    },
    /// A header cannot be used.
    #[error("`{name}`: {why}")]
    Header {
        /// The header.
        name: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// `If-Match` with a tag that this node never gave out.
    #[error(
        "`If-Match` is {tag}, which no revision of this resource ever was: tags are quoted numbers"
    )]
    TagNeverGiven {
        /// The tag as it came.
        tag: String,
    },
    /// Not JSON.
    #[error("{why}")]
    JsonSyntax {
        /// What is wrong, with line and column.
        why: String,
    },
    /// JSON of another shape.
    #[error("{why}")]
    JsonShape {
        /// What is wrong, with line and column.
        why: String,
    },
    /// Not the expected media type.
    #[error("the content type is {found}; expected: {expected}")]
    ContentType {
        /// What came.
        found: String,
        /// What is taken.
        expected: &'static str,
    },
    /// The JSON body is too large.
    #[error("the JSON body is larger than {bytes_max} bytes, the most this node reads")]
    JsonTooLarge {
        /// The bound, in bytes.
        bytes_max: usize,
    },
    /// The JSON body did not arrive in time.
    #[error("the body did not arrive within {duration_ms_max} ms")]
    TooSlow {
        /// The bound, in milliseconds.
        duration_ms_max: u128,
    },
    /// The body broke off.
    #[error("the body ended before it was whole")]
    BrokenOff,
    /// As many log streams are open as may be.
    #[error("{open} log streams are open, the most {whose} may have")]
    FollowersBusy {
        /// How many are open.
        open: usize,
        /// The node or the tenant.
        whose: &'static str,
    },
    /// Readiness is denied.
    #[error("{why}")]
    NotReady {
        /// What is missing.
        why: String,
    },
    /// A change's task ended by a panic.
    #[error("a task of the node ended unexpectedly")]
    TaskLost {
        /// What the runtime says of it.
        inside: String,
    },
}

impl RequestError {
    /// What axum refused by itself, with a body that is not a problem; `None` where there is nothing to replace.
    pub(super) fn from_bare(response: &Response) -> Option<Self> {
        let status = response.status();
        let is_problem = response
            .headers()
            .get(CONTENT_TYPE)
            .is_some_and(|value| value == MEDIA_TYPE);
        if !is_error(status) || is_problem {
            return None;
        }
        Some(match status {
            StatusCode::NOT_FOUND => RequestError::PathUnknown,
            StatusCode::METHOD_NOT_ALLOWED => RequestError::MethodNotAllowed,
            other => RequestError::TaskLost {
                inside: format!("a handler answered {other} without a problem"),
            },
        })
    }
}

impl From<QueryRejection> for RequestError {
    fn from(rejection: QueryRejection) -> Self {
        RequestError::Query {
            why: rejection.body_text(),
        }
    }
}

impl From<&RequestError> for Answer {
    fn from(error: &RequestError) -> Self {
        use RequestError as E;
        let answer = |kind| Answer::new(kind, error);
        match error {
            E::PathUnknown => answer(Kind::PathUnknown),
            E::MethodNotAllowed => answer(Kind::MethodNotAllowed),
            E::Path { .. } => answer(Kind::PathInvalid),
            E::Query { .. } => answer(Kind::QueryInvalid),
            E::Header { .. } => answer(Kind::HeaderInvalid),
            E::TagNeverGiven { .. } => answer(Kind::RevisionMismatch),
            E::JsonSyntax { .. } => answer(Kind::JsonSyntax),
            E::JsonShape { .. } => answer(Kind::JsonShape),
            E::ContentType { .. } => answer(Kind::ContentTypeUnsupported),
            E::JsonTooLarge { bytes_max } => {
                answer(Kind::JsonTooLarge).with("bytes_max", *bytes_max)
            }
            E::TooSlow { .. } => answer(Kind::RequestTooSlow),
            E::BrokenOff => answer(Kind::BodyBrokenOff),
            E::FollowersBusy { .. } => {
                answer(Kind::FollowersBusy).retry_after(RETRY_AFTER_FOLLOWER_S)
            }
            E::NotReady { .. } => answer(Kind::NotReady).retry_after(RETRY_AFTER_READY_S),
            E::TaskLost { inside } => {
                let mut internal = Answer::new(
                    Kind::Internal,
                    "the node met a fault of its own; its log has more under this request id",
                );
                internal.inside = Some(inside.clone());
                internal
            }
        }
    }
}
