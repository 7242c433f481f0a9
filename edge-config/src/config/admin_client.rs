//! Who may ask the admin API by a client certificate, and for what.

use serde::{Serialize, Serializer};

use super::words::Word;
use crate::names::TenantName;

/// The scopes there are, as tokens spell them; whether one is for a tenant.
pub const ADMIN_SCOPES: [(&str, bool); 5] = [
    ("node:admin", false),
    ("node:read", false),
    ("tenant:admin", true),
    ("deploy", true),
    ("read", true),
];

/// The longest name, in bytes: the bound of a common name (RFC 5280, `ub-common-name`).
const NAME_BYTES_MAX: usize = 64;

/// A name in client certificates with what it stands for: `NAME=SCOPE+SCOPE@TENANT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminClient {
    name: String,
    scopes: Vec<&'static str>,
    tenant: Option<TenantName>,
}

impl AdminClient {
    /// The common name of the certificate's subject.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// At least one, each once, of [`ADMIN_SCOPES`].
    pub fn scopes(&self) -> &[&'static str] {
        &self.scopes
    }

    /// The tenant that its scopes are for.
    pub fn tenant(&self) -> Option<&TenantName> {
        self.tenant.as_ref()
    }
}

impl Word for AdminClient {
    const ALLOWED: &'static str = "a certificate's common name of 1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-', '=', scopes \
                                   of node:admin, node:read, tenant:admin, deploy and read with '+' between them, and \
                                   for the last three '@' and a tenant (\"ops=node:admin\", \"ci=deploy+read@acme\")";

    fn read(text: &str) -> Result<Self, String> {
        let (name, rest) = text
            .split_once('=')
            .ok_or_else(|| "has no '='".to_owned())?;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(is_plain) {
            return Err("has no common name before the '='".to_owned());
        }
        let (words, tenant) = match rest.split_once('@') {
            Some((words, tenant)) => {
                let tenant = tenant
                    .parse()
                    .map_err(|_| "has no tenant name behind the '@'".to_owned())?;
                (words, Some(tenant))
            }
            None => (rest, None),
        };
        let mut scopes = Vec::new();
        for word in words.split('+') {
            let known = ADMIN_SCOPES.iter().find(|(scope, _)| *scope == word);
            let (scope, of_tenant) =
                known.ok_or_else(|| "names a scope that there is not".to_owned())?;
            if scopes.contains(scope) {
                return Err("names a scope twice".to_owned());
            }
            if *of_tenant != tenant.is_some() {
                return Err(
                    "must have a tenant for tenant:admin, deploy and read, and none for the others"
                        .to_owned(),
                );
            }
            scopes.push(*scope);
        }
        Ok(Self {
            name: name.to_owned(),
            scopes,
            tenant,
        })
    }

    fn write(&self) -> String {
        let scopes = self.scopes.join("+");
        match &self.tenant {
            Some(tenant) => format!("{}={scopes}@{tenant}", self.name),
            None => format!("{}={scopes}", self.name),
        }
    }
}

impl Serialize for AdminClient {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.write())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_may_is_read_and_written() {
        for text in ["ops=node:admin", "watch-1=node:read", "ci=deploy+read@acme"] {
            assert_eq!(AdminClient::read(text).unwrap().write(), text);
        }
        let ci = AdminClient::read("ci=deploy+read@acme").unwrap();
        assert_eq!((ci.name(), ci.scopes()), ("ci", &["deploy", "read"][..]));
        for (text, reason) in [
            ("", "has no '='"),
            ("=node:admin", "has no common name"),
            ("a b=node:admin", "has no common name"),
            ("ops=", "names a scope that there is not"),
            ("ops=admin", "names a scope that there is not"),
            ("ops=node:read+node:read", "names a scope twice"),
            ("ci=deploy", "must have a tenant"),
            ("ops=node:admin@acme", "must have a tenant"),
            ("ci=deploy@A", "has no tenant name"),
        ] {
            let refused = AdminClient::read(text).unwrap_err();
            assert!(refused.starts_with(reason), "{text}: {refused}");
        }
    }
}
