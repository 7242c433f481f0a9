//! A typed client of the admin API.
//!
//! Takes an address (`http://127.0.0.1:7400`, `https://…` or `unix:/path`) and a token; promises the contract's own
//! types, problems as [`Problem`], answers read within bounds. Never follows redirects, never uses a proxy: a token goes
//! where it was meant to go.

mod backup;
mod certificates;
mod databases;
mod error;
mod events;
mod node;
mod request;
mod routes;
mod stores;
mod tenants;
mod upload;
mod variables;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use backup::BackupDownload;
pub use error::ClientError;
pub use events::LogFollower;
use reqwest::Url;
pub use upload::{Component, UploadAnswer, UploadRequest};

use crate::view::Revised;

/// The address that a node listens on where nothing else is configured.
pub const ADMIN_DEFAULT: &str = "http://127.0.0.1:7400";
/// Longest wait for a connection.
const CONNECT_MS_MAX: u64 = 5_000;
/// Longest wait for an answer without a stream in it.
const ANSWER_MS_MAX: u64 = 60_000;

/// A connection to one node. Cheap to clone; connections are shared.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    admin: String,
    token: Option<String>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("admin", &self.admin)
            .finish_non_exhaustive()
    }
}

/// What a client believes and shows over TLS; by default what the box believes, and nothing.
#[derive(Clone, Default)]
pub struct TlsFiles {
    /// In PEM: the only authorities that are believed.
    pub authorities: Option<Vec<u8>>,
    /// In PEM: a certificate, its chain and its private key, to be known by.
    pub identity: Option<zeroize::Zeroizing<Vec<u8>>>,
}

/// What a PUT did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put<T> {
    /// The resource as it is now.
    pub resource: Revised<T>,
    /// Whether it is new.
    pub created: bool,
}

impl Client {
    /// Takes an address and a token; connects when first asked something.
    ///
    /// Without a token only what needs none can be asked: liveness, readiness, metrics, the API's description.
    ///
    /// # Errors
    /// [`ClientError::Address`].
    pub fn new(admin: &str, token: Option<String>) -> Result<Self, ClientError> {
        Self::with_files(admin, token, &TlsFiles::default())
    }

    /// The same, with what it believes and shows over TLS.
    ///
    /// # Errors
    /// [`ClientError::Address`], also for text that is no PEM of its kind.
    pub fn with_files(
        admin: &str,
        token: Option<String>,
        files: &TlsFiles,
    ) -> Result<Self, ClientError> {
        let refuse = |why: String| ClientError::Address {
            admin: admin.to_owned(),
            why,
        };
        let mut builder = reqwest::Client::builder()
            .connect_timeout(Duration::from_millis(CONNECT_MS_MAX))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy();
        if let Some(pem) = &files.authorities {
            let believed = reqwest::Certificate::from_pem_bundle(pem)
                .map_err(|error| refuse(format!("the authorities: {error}")))?;
            builder = builder.tls_certs_only(believed);
        }
        if let Some(pem) = &files.identity {
            let identity = reqwest::Identity::from_pem(pem)
                .map_err(|_| refuse("the client certificate or its key is not PEM".to_owned()))?;
            builder = builder.identity(identity);
        }
        let base = match admin.strip_prefix("unix:") {
            Some(path) => {
                let path = PathBuf::from(path);
                if !path.is_absolute() {
                    return Err(refuse("the socket's path must begin with `/`".to_owned()));
                }
                builder = builder.unix_socket(Path::new(&path));
                "http://localhost/"
            }
            None => admin,
        };
        let base: Url = base.parse().map_err(|error| refuse(format!("{error}")))?;
        if !matches!(base.scheme(), "http" | "https") || base.cannot_be_a_base() {
            return Err(refuse(
                "allowed are `http://host:port`, `https://host:port` and `unix:/path`".to_owned(),
            ));
        }
        if base.scheme() == "http" {
            // Else it would be refused on a box that knows no certificate authority, which nothing here asks for.
            builder = builder.tls_certs_only([]);
        }
        let http = builder.build().map_err(|error| refuse(error.to_string()))?;
        Ok(Self {
            http,
            base,
            admin: admin.to_owned(),
            token,
        })
    }

    /// The address as it was given.
    pub fn admin(&self) -> &str {
        &self.admin
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked() {
        for good in [
            "http://127.0.0.1:7400",
            "https://edge.test",
            "unix:/run/littoral.sock",
        ] {
            assert!(Client::new(good, None).is_ok(), "{good}");
        }
        for bad in [
            "",
            "127.0.0.1:7400",
            "ftp://x",
            "unix:relative",
            "mailto:a@b",
        ] {
            assert!(
                matches!(Client::new(bad, None), Err(ClientError::Address { .. })),
                "{bad}"
            );
        }
    }
}
