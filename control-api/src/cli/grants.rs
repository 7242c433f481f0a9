//! Grants on the command line.

use edge_config::{IpNet, OutboundPattern, StoreName};

use super::failure::Failure;
use super::output::facts;
use crate::view::Grants;

#[derive(Debug, clap::Args)]
pub(super) struct AskedGrants {
    /// A key-value store of the tenant that its guests may open; most programs open `default`
    #[arg(long, value_name = "STORE")]
    key_value: Vec<StoreName>,
    /// An SQL database of the tenant that they may open; most programs open `default`
    #[arg(long, value_name = "DATABASE")]
    database: Vec<StoreName>,
    /// A variable of the tenant that they may read
    #[arg(long, value_name = "NAME")]
    variable: Vec<String>,
    /// Where they may connect to, such as https://api.example.com or http://self
    #[arg(long, value_name = "SCHEME://HOST:PORT")]
    outbound: Vec<OutboundPattern>,
    /// Addresses that granted names may lead to though they are not public, such as 10.0.0.0/8
    #[arg(long, value_name = "ADDRESS/BITS")]
    network: Vec<IpNet>,
    /// An environment variable
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Nothing at all
    #[arg(long, conflicts_with_all = ["key_value", "database", "variable", "outbound", "network", "env"])]
    none: bool,
}

impl AskedGrants {
    /// What is to be granted; `None` where that is only to be shown.
    pub(super) fn write(self) -> Result<Option<Grants>, Failure> {
        let Self {
            key_value,
            database,
            variable,
            outbound,
            network,
            env,
            none,
        } = self;
        let environment = env
            .into_iter()
            .map(|entry| match entry.split_once('=') {
                Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
                None => Err(Failure::Usage(format!(
                    "--env {entry:?} has no '='; allowed: NAME=VALUE"
                ))),
            })
            .collect::<Result<_, _>>()?;
        let grants = Grants {
            key_value,
            databases: database,
            variables: variable,
            outbound,
            networks: network,
            environment,
        };
        Ok((none || grants != Grants::default()).then_some(grants))
    }
}

/// Grants for people.
pub(super) fn text(grants: &Grants) -> String {
    let Grants {
        key_value,
        databases,
        variables,
        outbound,
        networks,
        environment,
    } = grants;
    let environment: Vec<_> = environment
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    facts(&[
        ("key-value stores", listed(key_value)),
        ("SQL databases", listed(databases)),
        ("variables", listed(variables)),
        ("may connect to", listed(outbound)),
        ("also at", listed(networks)),
        ("environment", listed(&environment)),
    ])
}

fn listed(entries: &[impl ToString]) -> String {
    if entries.is_empty() {
        return "none".to_owned();
    }
    entries
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(" ")
}
