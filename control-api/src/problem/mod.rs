//! From errors to RFC 9457 problems.
//!
//! Takes a [`PlaneError`], an [`AuthError`] or a [`RequestError`]; promises one exhaustive match from each to a [`Kind`]
//! and a text for the outside. What is inside text never leaves in an answer: it goes to the log with the request id.

mod kind;
mod plane;
mod request;

use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
pub use kind::{Kind, TYPE_BASE, page};
pub use request::RequestError;
use serde_json::{Map, Value};

use crate::auth::AuthError;
use crate::error::{PlaneError, Problem};

/// The media type of a problem (RFC 9457 §3).
pub const MEDIA_TYPE: &str = "application/problem+json";

/// What an error becomes on the outside, before it has a request id.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Its kind: type, title, status.
    pub kind: Kind,
    /// What was wrong this time, for the outside.
    pub detail: String,
    /// Further members, for programs.
    pub more: Map<String, Value>,
    /// When to try again, in seconds (`Retry-After`, RFC 9110 §10.2.3).
    pub retry_after_s: Option<u64>,
    /// What only the log may say.
    pub inside: Option<String>,
}

impl Answer {
    fn new(kind: Kind, detail: impl std::fmt::Display) -> Self {
        Self {
            kind,
            detail: detail.to_string(),
            more: Map::new(),
            retry_after_s: None,
            inside: None,
        }
    }

    fn with(mut self, member: &str, value: impl Into<Value>) -> Self {
        self.more.insert(member.to_owned(), value.into());
        self
    }

    fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// The problem as a client sees it.
    pub fn problem(self, request_id: &str) -> Problem {
        Problem {
            problem_type: self.kind.uri(),
            title: self.kind.title().to_owned(),
            status: self.kind.status().as_u16(),
            detail: self.detail,
            request_id: request_id.to_owned(),
            more: self.more,
        }
    }
}

impl Problem {
    /// The problem that `error` is answered with; jobs store it for their poller.
    pub fn from_plane(error: &PlaneError, request_id: &str) -> Self {
        Answer::from(error).problem(request_id)
    }

    /// Its kind; `None` where the `type` is from elsewhere or from a newer node.
    pub fn kind(&self) -> Option<Kind> {
        Kind::from_uri(&self.problem_type)
    }
}

/// Whatever can end a request early, on its way to becoming a problem.
///
/// As an axum response it has no body yet: the outermost layer knows the request id and writes the problem, in one
/// place for all of them.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The plane refused.
    Plane(PlaneError),
    /// The caller is unknown or may not.
    Auth(AuthError),
    /// The request is not one this API understands.
    Request(RequestError),
}

impl From<PlaneError> for Fault {
    fn from(error: PlaneError) -> Self {
        Fault::Plane(error)
    }
}

impl From<AuthError> for Fault {
    fn from(error: AuthError) -> Self {
        Fault::Auth(error)
    }
}

impl From<RequestError> for Fault {
    fn from(error: RequestError) -> Self {
        Fault::Request(error)
    }
}

impl From<&Fault> for Answer {
    fn from(fault: &Fault) -> Self {
        match fault {
            Fault::Plane(error) => error.into(),
            Fault::Auth(error) => error.into(),
            Fault::Request(error) => error.into(),
        }
    }
}

impl From<&AuthError> for Answer {
    fn from(error: &AuthError) -> Self {
        match error {
            AuthError::Missing => Answer::new(Kind::TokenMissing, error),
            AuthError::Scheme { .. } | AuthError::Twice | AuthError::Token(_) => {
                Answer::new(Kind::TokenInvalid, error)
            }
            AuthError::Scope { needed } => Answer::new(Kind::ScopeInsufficient, error).with(
                "scopes",
                needed
                    .iter()
                    .map(|scope| scope.as_str())
                    .collect::<Vec<_>>(),
            ),
            AuthError::TenantClaim => Answer::new(Kind::ScopeInsufficient, error),
        }
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let mut response = Answer::from(&self).kind.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Writes the problem of a response that carries a [`Fault`], or that axum refused by itself, and logs what is inside.
///
/// Responses that are no errors, and errors that already have a body of their own kind, pass unchanged.
pub fn render(mut response: Response, request_id: &str) -> Response {
    let fault = match response.extensions_mut().remove::<Fault>() {
        Some(fault) => fault,
        None => match RequestError::from_bare(&response) {
            Some(error) => Fault::Request(error),
            None => return response,
        },
    };
    let answer = Answer::from(&fault);
    if let Some(inside) = &answer.inside {
        tracing::error!(request_id, kind = answer.kind.slug(), %inside, "internal fault");
    }
    let retry_after_s = answer.retry_after_s;
    let status = answer.kind.status();
    let allow = response.headers().get(ALLOW).cloned();
    let problem = answer.problem(request_id);
    let body =
        serde_json::to_vec(&problem).expect("a problem has string keys only and always serializes");
    let mut rendered = (status, body).into_response();
    let headers = rendered.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    if let Some(allow) = allow {
        headers.insert(ALLOW, allow);
    }
    if let Some(seconds) = retry_after_s {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let Fault::Auth(error) = &fault {
        headers.insert(WWW_AUTHENTICATE, error.challenge());
    }
    rendered
}

/// Whether a status is an error that must carry a problem.
fn is_error(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn slugs_are_unique_and_plain() {
        let mut seen = HashSet::new();
        for kind in Kind::ALL {
            assert!(seen.insert(kind.slug()), "{} twice", kind.slug());
            assert!(
                kind.slug()
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'-'),
                "{}",
                kind.slug()
            );
            assert!(is_error(kind.status()), "{}", kind.slug());
            assert_eq!(Kind::from_uri(&kind.uri()), Some(*kind));
        }
    }

    #[test]
    fn problems_page_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/PROBLEMS.md");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(path, page()).unwrap();
        }
        assert_eq!(
            std::fs::read_to_string(path).unwrap(),
            page(),
            "PROBLEMS.md differs from the table: run with UPDATE=1"
        );
    }

    #[test]
    fn inside_text_stays_inside() {
        let error = PlaneError::Internal {
            inside: "disk /dev/secret".to_owned(),
        };
        let problem = Problem::from_plane(&error, "id");
        let text = serde_json::to_string(&problem).unwrap();
        assert!(!text.contains("secret"), "{text}");
        assert_eq!(
            Answer::from(&error).inside.as_deref(),
            Some("disk /dev/secret")
        );
    }
}
