//! Trusted keys that someone publishes at a URL.
//!
//! Takes an `https` URL (or `http` on loopback); promises a bounded answer in bounded time, or the reason why not. Never
//! decides what happens to the keys already known: the authenticator keeps the last good ones.

use std::time::Duration;

use reqwest::Url;

use super::{KeyError, TrustedKeys};

/// Most bytes of an answer that are read.
pub(super) const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// Longest time for the whole fetch.
const FETCH_MS_MAX: u64 = 5_000;
/// Least time between two fetches that unknown key ids cause, in seconds.
pub const UNKNOWN_KID_WAIT_S: u64 = 30;
/// Most redirects followed.
const REDIRECTS_MAX: usize = 3;

/// Where keys are published, and how often to look.
#[derive(Debug, Clone)]
pub struct JwksUrl {
    /// `https`, or `http` to a loopback address.
    pub url: Url,
    /// How often the keys are fetched anew.
    pub refresh_every: Duration,
    /// The least time between two fetches that unknown key ids cause, in seconds.
    pub unknown_kid_wait_s: u64,
}

impl JwksUrl {
    /// A URL that is asked on this interval, and for unknown keys at most every [`UNKNOWN_KID_WAIT_S`].
    ///
    /// # Errors
    /// [`FetchError::NotAUrl`].
    pub fn new(url: &str, refresh_every: Duration) -> Result<Self, FetchError> {
        Ok(Self {
            url: url.parse().map_err(|error| FetchError::NotAUrl {
                url: url.to_owned(),
                why: format!("{error}"),
            })?,
            refresh_every,
            unknown_kid_wait_s: UNKNOWN_KID_WAIT_S,
        })
    }
}

/// Why a fetch brought no keys.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Not a URL.
    #[error("`{url}` is no URL: {why}")]
    NotAUrl {
        /// The text.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// A URL that anyone on the way could answer.
    #[error("{url} is neither https nor on loopback: anyone on the way could replace the keys")]
    NotPrivate {
        /// The URL.
        url: String,
    },
    /// No answer, or not in time.
    #[error("{url} gave no answer")]
    Unreachable {
        /// The URL.
        url: String,
        /// What happened.
        #[source]
        source: reqwest::Error,
    },
    /// An answer other than 200.
    #[error("{url} answered {status}")]
    Status {
        /// The URL.
        url: String,
        /// Its status.
        status: u16,
    },
    /// Too long an answer.
    #[error("{url} answered more than {ANSWER_BYTES_MAX} bytes")]
    TooLong {
        /// The URL.
        url: String,
    },
    /// Not a usable JWKS.
    #[error("{url} gave no usable keys")]
    Keys {
        /// The URL.
        url: String,
        /// Why.
        #[source]
        source: KeyError,
    },
}

/// Fetches one URL.
#[derive(Debug)]
pub(super) struct Fetcher {
    pub(super) source: JwksUrl,
    client: reqwest::Client,
}

impl Fetcher {
    pub(super) fn new(source: JwksUrl) -> Result<Self, FetchError> {
        if !is_private(&source.url) {
            return Err(FetchError::NotPrivate {
                url: source.url.into(),
            });
        }
        let redirects = reqwest::redirect::Policy::custom(|attempt| {
            if attempt.previous().len() > REDIRECTS_MAX || !is_private(attempt.url()) {
                attempt.stop()
            } else {
                attempt.follow()
            }
        });
        let client = reqwest::Client::builder()
            .timeout(Duration::from_millis(FETCH_MS_MAX))
            .redirect(redirects)
            .no_proxy()
            .build()
            .map_err(|error| FetchError::Unreachable {
                url: source.url.to_string(),
                source: error,
            })?;
        Ok(Self { source, client })
    }

    /// One fetch.
    ///
    /// # Cancel safety
    /// Dropping the future drops the connection; nothing else is held.
    pub(super) async fn fetch(&self) -> Result<TrustedKeys, FetchError> {
        let url = || self.source.url.to_string();
        let unreachable = |source: reqwest::Error| FetchError::Unreachable {
            url: url(),
            source: source.without_url(),
        };
        let mut answer = self
            .client
            .get(self.source.url.clone())
            .send()
            .await
            .map_err(unreachable)?;
        if answer.status() != reqwest::StatusCode::OK {
            return Err(FetchError::Status {
                url: url(),
                status: answer.status().as_u16(),
            });
        }
        let mut text = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(unreachable)? {
            if text.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(FetchError::TooLong { url: url() });
            }
            text.extend_from_slice(&chunk);
        }
        let keys = |source| FetchError::Keys { url: url(), source };
        let (trusted, left_out) = std::str::from_utf8(&text)
            .map_err(|error| KeyError::NotASet {
                why: error.to_string(),
            })
            .and_then(TrustedKeys::lenient)
            .map_err(keys)?;
        for why in left_out {
            tracing::warn!(url = %self.source.url, why = %why, "a published key is not used");
        }
        Ok(trusted)
    }
}

fn is_private(url: &Url) -> bool {
    match url.scheme() {
        "https" => true,
        "http" => url.host_str().is_some_and(|host| {
            host == "localhost"
                || host
                    .trim_start_matches('[')
                    .trim_end_matches(']')
                    .parse::<std::net::IpAddr>()
                    .is_ok_and(|address| address.is_loopback())
        }),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_loopback_only() {
        for good in [
            "https://id.test/jwks",
            "http://127.0.0.1:1/",
            "http://[::1]/k",
            "http://localhost/k",
        ] {
            assert!(is_private(&good.parse().unwrap()), "{good}");
        }
        for bad in [
            "http://id.test/jwks",
            "http://127.0.0.1.test/",
            "ftp://127.0.0.1/",
        ] {
            assert!(!is_private(&bad.parse().unwrap()), "{bad}");
        }
    }
}
