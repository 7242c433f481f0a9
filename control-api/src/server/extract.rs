//! What a request says, read within bounds: names in the path, the query, a JSON body.

use axum::extract::{FromRequest, FromRequestParts, Query, RawPathParams, Request};
use edge_config::{KeyId, ModuleName, RouteId, StoreName, TenantName};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::request::Parts;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Api;
use crate::json;
use crate::problem::{Fault, RequestError};
use crate::view::PageRequest;

/// Most items of one page.
pub(super) const PAGE_MAX: usize = 1000;
/// Items of a page where the query does not say.
pub(super) const PAGE_DEFAULT: usize = 100;
/// Longest `after`, in bytes: above the longest name of anything listed.
const AFTER_BYTES_MAX: usize = 2048;

/// A part of the path that is a name.
pub(super) trait PathPart: Sized + Send {
    /// The part's name in the route's pattern.
    const PART: &'static str;
    /// Reads the percent-decoded text.
    fn read(text: &str) -> Result<Self, String>;
}

macro_rules! path_parts {
    ($($name:ty => $part:literal;)+) => {$(
        impl PathPart for $name {
            const PART: &'static str = $part;
            fn read(text: &str) -> Result<Self, String> {
                text.parse().map_err(|error: <$name as std::str::FromStr>::Err| error.to_string())
            }
        }
    )+};
}

path_parts! {
    TenantName => "tenant";
    ModuleName => "module";
    KeyId => "kid";
    RouteId => "route";
    StoreName => "store";
}

/// A version's number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Version(pub(super) u64);

impl PathPart for Version {
    const PART: &'static str = "version";

    fn read(text: &str) -> Result<Self, String> {
        text.parse()
            .map(Version)
            .map_err(|_| format!("{text:?} is not a version number"))
    }
}

/// A job's id, not looked into: the plane knows its own.
#[derive(Debug, Clone)]
pub(super) struct JobId(pub(super) String);

impl PathPart for JobId {
    const PART: &'static str = "job";

    fn read(text: &str) -> Result<Self, String> {
        const CHARACTERS_MAX: usize = 64;
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if !text.is_empty() && text.len() <= CHARACTERS_MAX && text.chars().all(plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "a job id has 1 to {CHARACTERS_MAX} letters, digits, `-` and `_`"
            ))
        }
    }
}

/// A name in the path.
#[derive(Debug)]
pub(super) struct InPath<T>(pub(super) T);

impl<T: PathPart> FromRequestParts<Api> for InPath<T> {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Fault> {
        let refuse = |why| RequestError::Path { name: T::PART, why };
        let params = RawPathParams::from_request_parts(parts, api)
            .await
            .map_err(|rejection| refuse(rejection.body_text()))?;
        let text = params
            .iter()
            .find_map(|(name, text)| (name == T::PART).then_some(text))
            .ok_or_else(|| RequestError::TaskLost {
                inside: format!("a route without `{}` asks for it", T::PART),
            })?;
        Ok(Self(T::read(text).map_err(refuse)?))
    }
}

/// The query, all of it known.
#[derive(Debug)]
pub(super) struct InQuery<T>(pub(super) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Api> for InQuery<T> {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Fault> {
        let Query(query) = Query::<T>::from_request_parts(parts, api)
            .await
            .map_err(RequestError::from)?;
        Ok(Self(query))
    }
}

/// Operations without a query still refuse one: a misspelt parameter must not pass in silence.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NoQuery {}

/// `?dry_run=true`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DryRunQuery {
    /// Say what would happen and change nothing.
    #[serde(default)]
    pub(super) dry_run: bool,
}

/// Which page of a list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PageQuery {
    limit: Option<usize>,
    after: Option<String>,
}

impl PageQuery {
    pub(super) fn request(self) -> Result<PageRequest, RequestError> {
        let limit = limit_within(self.limit)?;
        let after = self.after.filter(|after| !after.is_empty());
        if after
            .as_ref()
            .is_some_and(|after| after.len() > AFTER_BYTES_MAX)
        {
            return Err(RequestError::Query {
                why: format!("`after` is longer than {AFTER_BYTES_MAX} bytes"),
            });
        }
        Ok(PageRequest { after, limit })
    }
}

/// A list's `limit`: 1 to [`PAGE_MAX`].
pub(super) fn limit_within(limit: Option<usize>) -> Result<usize, RequestError> {
    let limit = limit.unwrap_or(PAGE_DEFAULT);
    if (1..=PAGE_MAX).contains(&limit) {
        Ok(limit)
    } else {
        Err(RequestError::Query {
            why: format!("`limit` is {limit}; allowed is 1 to {PAGE_MAX}"),
        })
    }
}

/// A JSON body: of the right type, whole within bounds of size and time, of the right shape.
#[derive(Debug)]
pub(super) struct JsonBody<T>(pub(super) T);

impl<T: DeserializeOwned + Send> FromRequest<Api> for JsonBody<T> {
    type Rejection = Fault;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Fault> {
        let (parts, body) = request.into_parts();
        content_type(&parts.headers, "application/json", |essence| {
            essence
                .is_some_and(|essence| essence == "application/json" || essence.ends_with("+json"))
        })?;
        let bytes_max = api.options.body_json_bytes_max;
        let timeout = api.options.body_json_timeout;
        let body = tokio::time::timeout(timeout, Limited::new(body, bytes_max).collect())
            .await
            .map_err(|_| RequestError::TooSlow {
                duration_ms_max: timeout.as_millis(),
            })?
            .map_err(|error| {
                if error.is::<LengthLimitError>() {
                    RequestError::JsonTooLarge { bytes_max }
                } else {
                    RequestError::BrokenOff
                }
            })?
            .to_bytes();
        let value = json::object(&body).map_err(|error| {
            let why = error.to_string();
            if error.is_data() {
                RequestError::JsonShape { why }
            } else {
                RequestError::JsonSyntax { why }
            }
        })?;
        Ok(Self(value))
    }
}

/// Checks `Content-Type` (without its parameters, in lower case) and that there is no `Content-Encoding`.
pub(super) fn content_type(
    headers: &HeaderMap,
    expected: &'static str,
    accepts: impl Fn(Option<&str>) -> bool,
) -> Result<(), RequestError> {
    let shown = |text: &str| format!("{:?}", text.chars().take(64).collect::<String>());
    let text = headers
        .get(CONTENT_TYPE)
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let essence = text.as_deref().map(|text| {
        text.split(';')
            .next()
            .unwrap_or(text)
            .trim()
            .to_ascii_lowercase()
    });
    if !accepts(essence.as_deref()) {
        return Err(RequestError::ContentType {
            found: text.map_or("missing".to_owned(), |text| shown(&text)),
            expected,
        });
    }
    match headers.get(CONTENT_ENCODING) {
        None => Ok(()),
        Some(encoding) => Err(RequestError::ContentType {
            found: format!(
                "encoded as {}",
                shown(&String::from_utf8_lossy(encoding.as_bytes()))
            ),
            expected,
        }),
    }
}
