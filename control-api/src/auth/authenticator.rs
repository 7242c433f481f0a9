//! The trusted keys of the moment, and the check of a request against them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use edge_config::Config;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::jwks_url::Fetcher;
use super::verify::{Rules, TokenHeader, verify};
use super::{AuthError, Clock, FetchError, JwksUrl, KeyError, Principal, TokenFault, TrustedKeys};

/// Largest JWKS file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 256 * 1024;

/// What a node expects of tokens, and whose it trusts.
#[derive(Debug, Clone)]
pub struct AuthOptions {
    /// This node's name: the `aud` of its tokens.
    pub audience: String,
    /// The `iss` values accepted.
    pub issuers: Vec<String>,
    /// JWKS files; every key in them must be good.
    pub jwks_files: Vec<PathBuf>,
    /// How often they are read again.
    pub jwks_files_every: Duration,
    /// Keys published at a URL, beside the files.
    pub jwks_url: Option<JwksUrl>,
    /// Longest lifetime of a token, in seconds.
    pub lifetime_s_max: u64,
    /// How far the issuer's clock and ours may differ, in seconds.
    pub clock_skew_s: u64,
}

impl AuthOptions {
    /// What the operator's configuration says; keys of the node's own can be added to `jwks_files`.
    ///
    /// # Errors
    /// [`AuthSetupError::Url`] for a JWKS URL that no client could ask.
    pub fn from_config(config: &Config) -> Result<Self, AuthSetupError> {
        let auth = &config.auth;
        let refresh_every = Duration::from_secs(auth.jwks_refresh_s.into());
        let jwks_url = auth
            .jwks_url
            .as_ref()
            .map(|url| JwksUrl::new(url.as_str(), refresh_every))
            .transpose()
            .map_err(AuthSetupError::Url)?;
        Ok(Self {
            audience: config.node.name.to_string(),
            issuers: auth
                .issuers
                .iter()
                .map(|issuer| issuer.as_str().to_owned())
                .collect(),
            jwks_files: auth.jwks_files.clone(),
            jwks_files_every: refresh_every,
            jwks_url,
            lifetime_s_max: auth.token_lifetime_s_max.into(),
            clock_skew_s: auth.clock_skew_s.into(),
        })
    }
}

/// Why access control cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum AuthSetupError {
    /// A JWKS file cannot be read.
    #[error("the JWKS file {} cannot be read", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A JWKS file holds what is not taken.
    #[error("the JWKS file {} is not taken", .path.display())]
    Keys {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: KeyError,
    },
    /// The JWKS URL cannot be used.
    #[error("the JWKS URL cannot be used")]
    Url(#[source] FetchError),
}

/// Checks bearer tokens. Cheap to share; every check reads one immutable set of keys, swapped whole.
pub struct Authenticator {
    rules: Rules,
    jwks_files: Vec<PathBuf>,
    jwks_files_every: Duration,
    keys: ArcSwap<TrustedKeys>,
    fetcher: Option<Fetcher>,
    sources: Mutex<Sources>,
    clock: Clock,
}

/// What the merged set is made of; the lock makes fetches one at a time.
struct Sources {
    files: TrustedKeys,
    url: TrustedKeys,
    fetched_at: Option<u64>,
}

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authenticator")
            .field("rules", &self.rules)
            .field("keys", &self.keys.load())
            .finish_non_exhaustive()
    }
}

impl Authenticator {
    /// Reads the JWKS files. The URL is not asked yet: [`Authenticator::refresh`] or the first unknown key does that.
    ///
    /// # Errors
    /// [`AuthSetupError`] where a file is unreadable or holds a key that is not taken, or the URL is not private.
    pub fn new(options: AuthOptions, clock: Clock) -> Result<Self, AuthSetupError> {
        let files = read_files(&options.jwks_files)?;
        let fetcher = options
            .jwks_url
            .map(Fetcher::new)
            .transpose()
            .map_err(AuthSetupError::Url)?;
        Ok(Self {
            rules: Rules {
                audience: options.audience,
                issuers: options.issuers,
                lifetime_s_max: options.lifetime_s_max,
                clock_skew_s: options.clock_skew_s,
            },
            jwks_files: options.jwks_files,
            jwks_files_every: options.jwks_files_every,
            keys: ArcSwap::from_pointee(files.clone()),
            fetcher,
            sources: Mutex::new(Sources {
                files,
                url: TrustedKeys::default(),
                fetched_at: None,
            }),
            clock,
        })
    }

    /// How many keys are trusted now.
    pub fn trusted_keys(&self) -> usize {
        self.keys.load().len()
    }

    /// Now, by the clock that tokens are checked with.
    pub fn now(&self) -> u64 {
        (self.clock)()
    }

    /// Reads the JWKS files anew; where one is not good, the keys of before stay.
    ///
    /// # Errors
    /// As [`Authenticator::new`].
    pub async fn reload_files(&self) -> Result<(), AuthSetupError> {
        let paths = self.jwks_files.clone();
        let files = tokio::task::spawn_blocking(move || read_files(&paths))
            .await
            .expect("reading files does not panic")?;
        let mut sources = self.sources.lock().await;
        sources.files = files;
        self.publish(&sources);
        Ok(())
    }

    /// Fetches the JWKS URL now, where one is set; where that fails, the last good keys stay.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn refresh(&self) -> Result<(), FetchError> {
        let Some(fetcher) = &self.fetcher else {
            return Ok(());
        };
        let mut sources = self.sources.lock().await;
        self.fetch_into(&mut sources, fetcher).await
    }

    /// Keeps the keys fresh until `shutdown`: files are read again and the URL is asked again, each in its time, so that
    /// an issuer's key is replaced without a restart. To be spawned by the owner.
    pub async fn keep_fresh(&self, shutdown: CancellationToken) {
        let files = async {
            loop {
                tokio::time::sleep(self.jwks_files_every).await;
                if let Err(error) = self.reload_files().await {
                    tracing::warn!(
                        error = %error,
                        cause = std::error::Error::source(&error).map(tracing::field::display),
                        "the JWKS files are not taken; the last good keys stay"
                    );
                }
            }
        };
        let url = async {
            let Some(fetcher) = &self.fetcher else {
                return std::future::pending().await;
            };
            loop {
                // A failure is logged where it happens and the last good keys stay: the next round tries again.
                let _ = self.refresh().await;
                tokio::time::sleep(fetcher.source.refresh_every).await;
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = files => {}
            () = url => {}
        }
    }

    /// Who sends these headers.
    ///
    /// Waits for the JWKS URL only where the token names a key that is not known and the last fetch is long enough ago.
    ///
    /// # Errors
    /// [`AuthError`], never its scope variants.
    pub async fn authenticate(&self, headers: &HeaderMap) -> Result<Principal, AuthError> {
        let token = bearer(headers)?;
        let header = TokenHeader::read(token)?;
        let mut keys = self.keys.load_full();
        let key = match header.choose(&keys) {
            Ok(key) => key,
            Err(TokenFault::KeyUnknown { kid }) => {
                self.look_for_new_keys(&kid).await;
                keys = self.keys.load_full();
                header.choose(&keys)?
            }
            Err(fault) => return Err(fault.into()),
        };
        Ok(verify(token, key, &self.rules, self.now())?)
    }

    async fn look_for_new_keys(&self, kid: &str) {
        let Some(fetcher) = &self.fetcher else {
            return;
        };
        let mut sources = self.sources.lock().await;
        // Whoever held the lock before may have brought the key.
        if self.keys.load().get(kid).is_some() {
            return;
        }
        let now = self.now();
        let wait_s = fetcher.source.unknown_kid_wait_s;
        // A clock that was set back must not stop fetching for as long as it was ahead.
        let too_soon = sources
            .fetched_at
            .is_some_and(|at| now >= at && now - at < wait_s);
        if !too_soon {
            let _ = self.fetch_into(&mut sources, fetcher).await;
        }
    }

    async fn fetch_into(&self, sources: &mut Sources, fetcher: &Fetcher) -> Result<(), FetchError> {
        sources.fetched_at = Some(self.now());
        match fetcher.fetch().await {
            Ok(keys) => {
                sources.url = keys;
                self.publish(sources);
                Ok(())
            }
            Err(error) => {
                tracing::warn!(
                    error = %error,
                    cause = std::error::Error::source(&error).map(tracing::field::display),
                    kept = sources.url.len(),
                    "the JWKS URL gave no new keys; the last good ones stay"
                );
                Err(error)
            }
        }
    }

    /// Swaps in the merged set. The operator's files come first: a URL cannot replace a key of theirs.
    fn publish(&self, sources: &Sources) {
        let mut merged = sources.files.clone();
        merged.absorb(&sources.url);
        self.keys.store(Arc::new(merged));
    }
}

fn read_files(paths: &[PathBuf]) -> Result<TrustedKeys, AuthSetupError> {
    use std::io::Read as _;
    let mut all = TrustedKeys::default();
    for path in paths {
        let mut text = String::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text))
            .map_err(|source| AuthSetupError::File {
                path: path.clone(),
                source,
            })?;
        TrustedKeys::strict(&text)
            .and_then(|keys| all.join(keys))
            .map_err(|source| AuthSetupError::Keys {
                path: path.clone(),
                source,
            })?;
    }
    Ok(all)
}

/// The bearer token (RFC 6750 §2.1); the query and the body are never looked at for one.
fn bearer(headers: &HeaderMap) -> Result<&str, AuthError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(AuthError::Missing)?;
    if values.next().is_some() {
        return Err(AuthError::Twice);
    }
    let text = value.to_str().map_err(|_| TokenFault::Malformed {
        why: "it has characters beyond ASCII".to_owned(),
    })?;
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(AuthError::Scheme {
            scheme: scheme.chars().take(32).collect(),
        });
    }
    Ok(token.trim_matches(' '))
}
