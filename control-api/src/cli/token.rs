//! `littoral token`: tokens, made here; no node is asked.

use std::path::PathBuf;

use clap::Subcommand;
use edge_config::TenantName;
use serde_json::json;

use super::context::Context;
use super::failure::Failure;
use crate::auth::{Scope, system_clock};
use crate::keypair::PrivateKey;
use crate::token::{TokenRequest, mint};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Sign a token with a key that the node trusts, and print it
    Create(Create),
}

#[derive(Debug, clap::Args)]
pub(super) struct Create {
    /// The issuer's private key, from `littoral keygen`
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The node's name
    #[arg(long, value_name = "NODE")]
    audience: String,
    /// What it allows: node:admin, node:read, tenant:admin, deploy, read; may be repeated
    #[arg(long, required = true, value_name = "SCOPE")]
    scope: Vec<Scope>,
    /// The tenant that tenant:admin, deploy and read are for
    #[arg(long)]
    tenant: Option<TenantName>,
    /// Who will use it, for the audit log
    #[arg(long, default_value = "operator", value_name = "NAME")]
    subject: String,
    /// The issuer's name, as the node's configuration lists it
    #[arg(long, default_value = "littoral", value_name = "NAME")]
    issuer: String,
    /// How long it is valid: seconds, or with a unit s, m, h or d
    #[arg(long, default_value = "1h", value_parser = seconds, value_name = "TIME")]
    lifetime: u64,
}

pub(super) fn run(context: &Context, command: Command) -> Result<(), Failure> {
    let Command::Create(create) = command;
    let key = PrivateKey::read(&create.key)?;
    let now = system_clock()();
    let request = TokenRequest {
        issuer: create.issuer,
        subject: create.subject,
        audience: create.audience,
        scopes: create.scope,
        tenant: create.tenant,
        lifetime_s: create.lifetime,
    };
    let token = mint(&key, &request, now).map_err(|error| Failure::Usage(error.to_string()))?;
    let value = json!({
        "token": token,
        "kid": key.kid(),
        "expires_at": now.saturating_add(request.lifetime_s),
    });
    context.show(&value, || format!("{token}\n"))
}

/// A time as people write it.
pub(super) fn seconds(text: &str) -> Result<u64, String> {
    const ALLOWED: &str = "a whole number with s, m, h or d, for instance `90s` or `12h`";
    let (digits, unit_s) = match text.char_indices().next_back() {
        Some((at, 's')) => (text.get(..at), 1),
        Some((at, 'm')) => (text.get(..at), 60),
        Some((at, 'h')) => (text.get(..at), 3_600),
        Some((at, 'd')) => (text.get(..at), 86_400),
        _ => (Some(text), 1),
    };
    digits
        .and_then(|digits| digits.parse::<u64>().ok())
        .and_then(|count| count.checked_mul(unit_s))
        .filter(|seconds| *seconds > 0)
        .ok_or_else(|| format!("`{text}` is no time; allowed is {ALLOWED}"))
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn times_have_units() {
        assert_eq!(seconds("90"), Ok(90));
        assert_eq!(seconds("90s"), Ok(90));
        assert_eq!(seconds("5m"), Ok(300));
        assert_eq!(seconds("1h"), Ok(3600));
        assert_eq!(seconds("2d"), Ok(172_800));
        for bad in [
            "",
            "0",
            "h",
            "-1h",
            "1w",
            "1.5h",
            "99999999999999999999d",
            "1é",
        ] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
