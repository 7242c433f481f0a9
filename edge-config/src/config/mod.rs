//! The node's configuration, from text and environment to checked values.
//!
//! Takes the TOML text and the pairs of the environment. Promises a [`Config`] whose every value
//! is in its documented range, or all that is wrong with it at once, each with key, value and what
//! is allowed. Never reads a file, a variable or the clock, and no key is looked at twice: the
//! declarations in `sections.rs` are the only place that knows them.

mod admin_client;
mod conflicts;
mod error;
mod ip_net;
mod read;
mod render;
mod sections;
mod setting;
mod suggest;
mod words;

use std::ffi::OsString;

pub use admin_client::{ADMIN_SCOPES, AdminClient};
pub use conflicts::HTTP_SOCKETS_MAX;
pub use error::{ConfigError, Hint};
pub use ip_net::{IpNet, IpNetError};
pub use read::{COMMAND_LINE_VARIABLES, CONFIG_BYTES_MAX};
pub use render::{config_keys, keys_markdown};
pub use sections::{
    Admin, Auth, Compile, Config, Http, Https, Log, Metrics, Node, RawAdmin, RawAuth, RawCompile,
    RawConfig, RawHttp, RawHttps, RawLog, RawMetrics, RawNode, RawStore, RawUploads, RawWorker,
    Store, Uploads, Worker,
};
pub use setting::{Fallback, KeyRow};
pub use words::{
    Issuer, KeysUrl, LogFormat, LogLevel, SocketPath, Strictness, TlsVersion, WithoutTls,
};

use crate::limits::{LimitError, Limits};
use read::Reading;
use setting::{LIMITS_SECTION, Wrong};

impl Config {
    /// Reads the text, lets the environment override it, checks everything.
    ///
    /// `environment` is every variable there is: those that do not start with `LITTORAL_` and the
    /// [`COMMAND_LINE_VARIABLES`] are passed over. Lists are separated by commas.
    ///
    /// # Errors
    /// Everything that is wrong, never empty: [`ConfigError`].
    pub fn parse<K, V>(
        text: &str,
        environment: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, Vec<ConfigError>>
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        let Reading {
            raw,
            mut errors,
            from_environment,
        } = Reading::of(text, environment);
        let (config, mut found) = Self::resolve_all(&raw);
        // What could not even be read has its error: its default is not to be blamed.
        found.retain(|error| !involves(error, &errors));
        for error in &mut found {
            if let ConfigError::Value { key, variable, .. } = error {
                variable.clone_from(&from_environment.get(key.as_str()).cloned());
            }
        }
        errors.append(&mut found);
        if errors.is_empty() {
            Ok(config)
        } else {
            Err(errors)
        }
    }

    /// Checks what was written and fills in the defaults.
    ///
    /// # Errors
    /// Everything that is wrong, never empty: [`ConfigError::Value`] and [`ConfigError::Conflict`].
    pub fn resolve(raw: RawConfig) -> Result<Self, Vec<ConfigError>> {
        let (config, errors) = Self::resolve_all(&raw);
        if errors.is_empty() {
            Ok(config)
        } else {
            Err(errors)
        }
    }

    /// What can be had of `raw`, with defaults where it is wrong, and all that is wrong.
    fn resolve_all(raw: &RawConfig) -> (Self, Vec<ConfigError>) {
        let mut errors = Vec::new();
        let (limits, limit_errors) = Limits::default().with_all(&raw.limits);
        let config = raw.resolve(limits, &mut errors);
        errors.extend(limit_errors.into_iter().map(limit_error));
        let conflicts: Vec<_> = config
            .conflicts()
            .into_iter()
            .filter(|conflict| !involves(conflict, &errors))
            .collect();
        errors.extend(conflicts);
        (config, errors)
    }
}

impl Default for Config {
    /// What an empty text gives.
    fn default() -> Self {
        Self::resolve_all(&RawConfig::default()).0
    }
}

impl RawConfig {
    /// Reads the text and lets the environment override it; the values are not checked.
    ///
    /// For those who override further, as the command line does, before [`Config::resolve`].
    ///
    /// # Errors
    /// All that cannot be read, never empty: bad TOML, unknown keys and variables, wrong types.
    pub fn read<K, V>(
        text: &str,
        environment: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, Vec<ConfigError>>
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        let reading = Reading::of(text, environment);
        if reading.errors.is_empty() {
            Ok(reading.raw)
        } else {
            Err(reading.errors)
        }
    }
}

/// Whether `error` is about a key that one of `others` is about.
fn involves(error: &ConfigError, others: &[ConfigError]) -> bool {
    let keys = match error {
        ConfigError::Value { key, .. } => [Some(key), None],
        ConfigError::Conflict { first, second, .. } => [Some(first), Some(second)],
        _ => [None, None],
    };
    keys.into_iter()
        .flatten()
        .any(|key| others.iter().any(|other| other.concerns(key)))
}

fn limit_error(error: LimitError) -> ConfigError {
    match error {
        LimitError::OutOfRange { row, value } => {
            KeyRow::of_limit(row).error(Wrong::bare(value, "is out of range"))
        }
        LimitError::Conflict {
            low,
            low_value,
            high,
            high_value,
        } => ConfigError::Conflict {
            first: format!("{LIMITS_SECTION}.{low}"),
            first_value: low_value.to_string(),
            second: format!("{LIMITS_SECTION}.{high}"),
            second_value: high_value.to_string(),
            allowed: "the first at most the second".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests;
