//! Conditional requests (RFC 9110 §13): entity tags are quoted revisions, and strong.

use axum::extract::FromRequestParts;
use http::header::{HeaderName, IF_MATCH, IF_NONE_MATCH};
use http::request::Parts;
use http::{HeaderMap, HeaderValue};

use super::Api;
use crate::error::PlaneError;
use crate::problem::{Fault, RequestError};
use crate::view::Precondition;

/// Most tags of one `If-None-Match` that are looked at.
const TAGS_MAX: usize = 64;

/// The entity tag of a revision.
pub(super) fn etag(revision: u64) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{revision}\"")).expect("digits in quotes are a header value")
}

/// The condition of a PUT: `If-Match: "N"`, or `If-None-Match: *`.
#[derive(Debug)]
pub(super) struct PutCondition(pub(super) Precondition);

impl FromRequestParts<Api> for PutCondition {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Fault> {
        let if_match = single(&parts.headers, IF_MATCH, "If-Match")?;
        let if_none_match = single(&parts.headers, IF_NONE_MATCH, "If-None-Match")?;
        Ok(Self(match (if_match, if_none_match) {
            (None, None) => Precondition::None,
            (Some(tag), None) => Precondition::Revision(revision(tag)?),
            (None, Some("*")) => Precondition::Absent,
            (None, Some(_)) => {
                return Err(RequestError::Header {
                    name: "If-None-Match",
                    why: "a change takes `*` only: create where there is nothing".to_owned(),
                }
                .into());
            }
            (Some(_), Some(_)) => {
                return Err(RequestError::Header {
                    name: "If-Match",
                    why: "together with `If-None-Match` it can never hold".to_owned(),
                }
                .into());
            }
        }))
    }
}

/// The condition of a DELETE: `If-Match: "N"`.
#[derive(Debug)]
pub(super) struct DeleteCondition(pub(super) Precondition);

impl FromRequestParts<Api> for DeleteCondition {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Fault> {
        if parts.headers.contains_key(IF_NONE_MATCH) {
            return Err(RequestError::Header {
                name: "If-None-Match",
                why: "it makes no sense on DELETE".to_owned(),
            }
            .into());
        }
        let PutCondition(precondition) = PutCondition::from_request_parts(parts, api).await?;
        Ok(Self(precondition))
    }
}

/// The condition of a GET: `If-None-Match` with tags or `*`, and `If-Match` with one tag.
#[derive(Debug)]
pub(super) struct GetCondition {
    wanted: Option<u64>,
    known: Option<String>,
}

impl FromRequestParts<Api> for GetCondition {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Fault> {
        let wanted = single(&parts.headers, IF_MATCH, "If-Match")?
            .filter(|tag| *tag != "*")
            .map(revision)
            .transpose()?;
        let known = single(&parts.headers, IF_NONE_MATCH, "If-None-Match")?.map(str::to_owned);
        Ok(Self { wanted, known })
    }
}

impl GetCondition {
    /// Whether the client has this revision already, so that 304 is the answer.
    ///
    /// # Errors
    /// [`PlaneError::RevisionMismatch`] where `If-Match` names another.
    pub(super) fn is_known(&self, current: u64) -> Result<bool, PlaneError> {
        if let Some(wanted) = self.wanted.filter(|wanted| *wanted != current) {
            return Err(PlaneError::RevisionMismatch { wanted, current });
        }
        let Some(known) = &self.known else {
            return Ok(false);
        };
        let tag = format!("\"{current}\"");
        // Weak comparison is enough here (RFC 9110 §13.1.2).
        Ok(known == "*"
            || known
                .split(',')
                .take(TAGS_MAX)
                .map(str::trim)
                .any(|known| known.strip_prefix("W/").unwrap_or(known) == tag))
    }
}

fn single<'h>(
    headers: &'h HeaderMap,
    header: HeaderName,
    name: &'static str,
) -> Result<Option<&'h str>, RequestError> {
    let refuse = |why: &str| RequestError::Header {
        name,
        why: why.to_owned(),
    };
    let mut values = headers.get_all(header).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(refuse("it is there more than once"));
    }
    let text = value.to_str().map_err(|_| refuse("it is not ASCII"))?;
    Ok(Some(text.trim()))
}

/// The revision that one strong tag names.
fn revision(tag: &str) -> Result<u64, RequestError> {
    if tag == "*" || tag.contains(',') {
        return Err(RequestError::Header {
            name: "If-Match",
            why: "name the one revision that you read, for instance `\"17\"`".to_owned(),
        });
    }
    let digits = tag
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    match digits {
        Some(digits) => digits
            .bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| digits.parse().ok())
            .flatten()
            .ok_or_else(|| RequestError::TagNeverGiven {
                tag: tag.chars().take(64).collect(),
            }),
        // A weak tag never matches strongly (RFC 9110 §8.8.3.2).
        None if tag.starts_with("W/\"") && tag.ends_with('"') => Err(RequestError::TagNeverGiven {
            tag: tag.chars().take(64).collect(),
        }),
        None => Err(RequestError::Header {
            name: "If-Match",
            why: "an entity tag stands in double quotes, for instance `\"17\"`".to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_a_quoted_revision() {
        assert_eq!(revision("\"17\"").unwrap(), 17);
        for never in [
            "\"\"",
            "\"x\"",
            "\"+1\"",
            "W/\"17\"",
            "\"99999999999999999999\"",
        ] {
            assert!(
                matches!(revision(never), Err(RequestError::TagNeverGiven { .. })),
                "{never}"
            );
        }
        for not_a_tag in ["17", "*", "\"1\", \"2\"", "\"1"] {
            assert!(
                matches!(revision(not_a_tag), Err(RequestError::Header { .. })),
                "{not_a_tag}"
            );
        }
    }

    #[test]
    fn known_revisions_are_compared_weakly() {
        let condition = |known: &str| GetCondition {
            wanted: None,
            known: Some(known.to_owned()),
        };
        for known in ["*", "\"5\"", "W/\"5\"", "\"4\", \"5\""] {
            assert!(condition(known).is_known(5).unwrap(), "{known}");
        }
        assert!(!condition("\"4\"").is_known(5).unwrap());
        let wanted = GetCondition {
            wanted: Some(4),
            known: None,
        };
        assert!(wanted.is_known(5).is_err());
        assert!(!wanted.is_known(4).unwrap());
    }
}
