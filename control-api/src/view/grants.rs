//! What a module's guests may do beyond answering requests.

use std::collections::BTreeMap;

use edge_config::{IpNet, OutboundPattern, StoreName, VARIABLE_NAMES, is_variable_name};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::PlaneError;

/// Most stores, databases, hosts, networks, variables and environment entries of one module, each.
const ENTRIES_MAX: usize = 64;
/// Most bytes of all names and values of its environment.
const ENVIRONMENT_BYTES_MAX: usize = 32 << 10;

/// What the guests of a module are granted: nothing that is not here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Grants {
    /// The tenant's key-value stores that they may open; most programs open `default`.
    pub key_value: Vec<StoreName>,
    /// The tenant's SQL databases that they may open; most programs open `default`.
    pub databases: Vec<StoreName>,
    /// What they may read of the tenant's variables, by name; the module's own need no grant.
    pub variables: Vec<String>,
    /// Where they may connect to, as in Spin's `allowed_outbound_hosts`.
    pub outbound: Vec<OutboundPattern>,
    /// Addresses that granted names may lead to though they are not public.
    #[schema(value_type = Vec<String>)]
    pub networks: Vec<IpNet>,
    /// Their environment variables.
    pub environment: BTreeMap<String, String>,
}

impl Grants {
    /// Whether there is not too much of anything.
    ///
    /// # Errors
    /// [`PlaneError::InvalidValue`] for the first list with more than 64 entries or one of them twice, for an environment
    /// of more than 32 KiB, and for names in it that no program could read.
    pub fn check(&self) -> Result<(), PlaneError> {
        for (field, entries) in [
            ("key_value", strings(&self.key_value)),
            ("databases", strings(&self.databases)),
            ("variables", self.variables.clone()),
            ("outbound", strings(&self.outbound)),
            ("networks", strings(&self.networks)),
            ("environment", self.environment.keys().cloned().collect()),
        ] {
            check_list(field, entries)?;
        }
        let bytes: usize = self
            .environment
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        if bytes > ENVIRONMENT_BYTES_MAX {
            let why = format!(
                "it has {bytes} bytes; allowed: {ENVIRONMENT_BYTES_MAX}, names and values together"
            );
            return Err(refused("environment", why));
        }
        for (name, value) in &self.environment {
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                let why = format!(
                    "{name:?} cannot be set; allowed: names without '=' that are not empty, and no zero bytes"
                );
                return Err(refused("environment", why));
            }
        }
        if let Some(name) = self.variables.iter().find(|name| !is_variable_name(name)) {
            let why = format!("{name:?} is no name of a variable; allowed: {VARIABLE_NAMES}");
            return Err(refused("variables", why));
        }
        Ok(())
    }
}

fn strings(entries: &[impl ToString]) -> Vec<String> {
    entries.iter().map(ToString::to_string).collect()
}

fn check_list(field: &str, mut entries: Vec<String>) -> Result<(), PlaneError> {
    if entries.len() > ENTRIES_MAX {
        let why = format!("it has {} entries; allowed: {ENTRIES_MAX}", entries.len());
        return Err(refused(field, why));
    }
    entries.sort_unstable();
    let twice = entries.windows(2).find_map(|pair| match pair {
        [a, b] if a == b => Some(a),
        _ => None,
    });
    match twice {
        Some(entry) => Err(refused(field, format!("{entry:?} is there twice"))),
        None => Ok(()),
    }
}

fn refused(field: &str, why: String) -> PlaneError {
    PlaneError::InvalidValue {
        field: field.to_owned(),
        why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Grants {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn nothing_is_granted_that_is_not_there() {
        let grants = read("{}");
        assert_eq!(grants, Grants::default());
        assert!(grants.check().is_ok());
        let unknown = serde_json::from_str::<Grants>(r#"{"sockets": true}"#);
        assert!(
            unknown
                .unwrap_err()
                .to_string()
                .contains("`sockets`, expected one of `key_value`")
        );
    }

    #[test]
    fn each_fault_has_its_message() {
        let many = (0..65)
            .map(|n| format!("\"s{n}\""))
            .collect::<Vec<_>>()
            .join(",");
        for (json, message) in [
            (
                r#"{"key_value": ["a", "a"]}"#.to_owned(),
                "`key_value`: \"a\" is there twice",
            ),
            (
                format!(r#"{{"key_value": [{many}]}}"#),
                "`key_value`: it has 65 entries; allowed: 64",
            ),
            (
                r#"{"environment": {"A=B": "c"}}"#.to_owned(),
                "`environment`: \"A=B\" cannot be set",
            ),
            (
                r#"{"environment": {"": "c"}}"#.to_owned(),
                "`environment`: \"\" cannot be set",
            ),
            (
                format!(r#"{{"environment": {{"A": "{}"}}}}"#, "x".repeat(40_000)),
                "`environment`: it has 40001 bytes; allowed: 32768",
            ),
            (
                r#"{"variables": ["Db-Url"]}"#.to_owned(),
                "`variables`: \"Db-Url\" is no name of a variable",
            ),
        ] {
            let said = read(&json).check().unwrap_err().to_string();
            assert!(said.starts_with(message), "{said}");
        }
    }
}
