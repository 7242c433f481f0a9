//! Credentials that a service manager laid ready for this process alone (`LoadCredential=` of a unit).

use std::path::{Path, PathBuf};

use edge_config::Config;

/// The bearer token that scrapers of `/metrics` must show.
const METRICS_TOKEN: &str = "littoral.metrics-token";
/// Public keys (JWKS) of those who sign tokens.
const JWKS: &str = "littoral.jwks";

/// The folder of credentials, if there is one.
#[derive(Debug, Clone)]
pub struct Credentials(Option<PathBuf>);

impl Credentials {
    /// Those of `CREDENTIALS_DIRECTORY`.
    #[must_use]
    pub fn from_environment() -> Self {
        Self(std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from))
    }

    /// Those of a folder.
    #[must_use]
    pub fn of(folder: &Path) -> Self {
        Self(Some(folder.to_owned()))
    }

    /// Adds what is there to a configuration: a token where it names none, keys beside those that it names.
    pub fn add_to(&self, config: &mut Config) {
        if config.metrics.token_file.is_none() {
            config.metrics.token_file = self.find(METRICS_TOKEN);
        }
        config.auth.jwks_files.extend(self.find(JWKS));
    }

    fn find(&self, name: &str) -> Option<PathBuf> {
        let path = self.0.as_ref()?.join(name);
        path.exists().then_some(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_added_and_what_the_configuration_names_stays() {
        let folder = tempfile::tempdir().unwrap();
        let credentials = Credentials::of(folder.path());
        let mut config = Config::default();
        credentials.add_to(&mut config);
        assert_eq!(config, Config::default(), "nothing is there");

        let [token, keys] = [METRICS_TOKEN, JWKS].map(|name| folder.path().join(name));
        std::fs::write(&token, "token").unwrap();
        std::fs::write(&keys, "{}").unwrap();
        let own = PathBuf::from("/etc/littoral/own.jwks");
        config.auth.jwks_files.push(own.clone());
        credentials.add_to(&mut config);
        assert_eq!(config.metrics.token_file.as_ref(), Some(&token));
        assert_eq!(config.auth.jwks_files, [own, keys]);

        let named = PathBuf::from("/etc/littoral/metrics.token");
        config.metrics.token_file = Some(named.clone());
        credentials.add_to(&mut config);
        assert_eq!(config.metrics.token_file, Some(named));
    }
}
