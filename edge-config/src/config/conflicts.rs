//! Values that are each allowed and do not go together.

use std::net::SocketAddr;

use super::{error::ConfigError, sections::Config, words::WithoutTls};

/// Most sockets that guests are served on: each thread has one of its own for every address.
pub const HTTP_SOCKETS_MAX: u32 = 128;

impl Config {
    /// Every pair of values outside `[limits]` that excludes each other.
    pub(super) fn conflicts(&self) -> Vec<ConfigError> {
        let backoff = self.backoff_conflict().into_iter();
        backoff
            .chain(self.listener_conflicts())
            .chain(self.sockets_conflict())
            .chain(self.admin_tls_conflicts())
            .collect()
    }

    /// The admin API: TLS that is half there, or none where it is needed.
    fn admin_tls_conflicts(&self) -> Vec<ConfigError> {
        let admin = &self.admin;
        let (chain, key) = (&admin.tls_chain_file, &admin.tls_key_file);
        let authorities = &admin.client_authorities_file;
        let shown = |path: &Option<std::path::PathBuf>| {
            path.as_ref()
                .map_or("not set".to_owned(), |path| format!("{path:?}"))
        };
        let conflict =
            |first: (&str, String), second: (&str, String), allowed: &str| ConfigError::Conflict {
                first: format!("admin.{}", first.0),
                first_value: first.1,
                second: format!("admin.{}", second.0),
                second_value: second.1,
                allowed: allowed.to_owned(),
            };
        let mut conflicts = Vec::new();
        if chain.is_some() != key.is_some() {
            conflicts.push(conflict(
                ("tls_chain_file", shown(chain)),
                ("tls_key_file", shown(key)),
                "both or neither",
            ));
        }
        if authorities.is_some() && chain.is_none() {
            conflicts.push(conflict(
                ("client_authorities_file", shown(authorities)),
                ("tls_chain_file", shown(chain)),
                "the first with the second only: clients show certificates over TLS",
            ));
        }
        if authorities.is_some() == admin.clients.is_empty() {
            conflicts.push(conflict(
                ("client_authorities_file", shown(authorities)),
                ("clients", format!("{} clients", admin.clients.len())),
                "both or neither",
            ));
        }
        let is_loopback = admin.listen.ip().to_canonical().is_loopback();
        if !is_loopback && chain.is_none() && admin.without_tls == WithoutTls::Loopback {
            conflicts.push(conflict(
                ("listen", admin.listen.to_string()),
                ("tls_chain_file", shown(chain)),
                "a loopback address, or TLS, or admin.without_tls = \"anywhere\": tokens would cross the network in clear \
                 text",
            ));
        }
        conflicts
    }

    /// More sockets than the worker can be handed.
    fn sockets_conflict(&self) -> Option<ConfigError> {
        let threads = self.http.threads;
        let addresses = self.http.listen.len() + self.https.listen.len();
        let addresses = u32::try_from(addresses).unwrap_or(u32::MAX);
        (threads.saturating_mul(addresses) > HTTP_SOCKETS_MAX).then(|| ConfigError::Conflict {
            first: "http.threads".to_owned(),
            first_value: threads.to_string(),
            second: "http.listen".to_owned(),
            second_value: if self.https.listen.is_empty() {
                format!("{addresses} addresses")
            } else {
                format!("{addresses} addresses, those of https.listen among them")
            },
            allowed: format!(
                "at most {HTTP_SOCKETS_MAX} sockets, which is the first times the number of the second"
            ),
        })
    }

    fn backoff_conflict(&self) -> Option<ConfigError> {
        let min = self.worker.restart_backoff_ms_min;
        let max = self.worker.restart_backoff_ms_max;
        (min > max).then(|| ConfigError::Conflict {
            first: "worker.restart_backoff_ms_min".to_owned(),
            first_value: min.to_string(),
            second: "worker.restart_backoff_ms_max".to_owned(),
            second_value: max.to_string(),
            allowed: "the first at most the second".to_owned(),
        })
    }

    /// Two listeners on one address; port 0 asks for any free one and never collides.
    fn listener_conflicts(&self) -> impl Iterator<Item = ConfigError> {
        let admin = ("admin.listen", self.admin.listen);
        let http = self
            .http
            .listen
            .iter()
            .map(|address| ("http.listen", *address));
        let https = self
            .https
            .listen
            .iter()
            .map(|address| ("https.listen", *address));
        let listeners: Vec<_> = std::iter::once(admin).chain(http).chain(https).collect();
        let mut conflicts = Vec::new();
        // At most 33 listeners: see the ranges of http.listen and https.listen.
        for (index, (second, one)) in listeners.iter().enumerate() {
            for (first, other) in listeners.iter().take(index) {
                if collide(*one, *other) {
                    conflicts.push(ConfigError::Conflict {
                        first: (*first).to_owned(),
                        first_value: other.to_string(),
                        second: (*second).to_owned(),
                        second_value: one.to_string(),
                        allowed: "addresses that do not overlap".to_owned(),
                    });
                }
            }
        }
        conflicts.into_iter()
    }
}

fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() != 0
        && one.port() == other.port()
        && (one.ip() == other.ip() || takes_in(one, other) || takes_in(other, one))
}

/// Whether the first is every address of the second's family.
///
/// `[::]` is not counted as taking in IPv4: whether it does is the kernel's setting.
fn takes_in(wide: SocketAddr, narrow: SocketAddr) -> bool {
    wide.ip().is_unspecified() && wide.is_ipv4() == narrow.is_ipv4()
}
