//! Minting bearer tokens: for `littoral token create` and for a node in dev mode.
//!
//! Takes a private key and what the token is to say; promises a JWT that a node with the public half in its JWKS
//! accepts. Checking them is the auth room's work, on another path, with another library.

use edge_config::TenantName;
use serde::Serialize;

use crate::auth::Scope;
use crate::keypair::PrivateKey;

/// What a token is to say.
#[derive(Debug, Clone)]
pub struct TokenRequest {
    /// The `iss`: a name that the node's configuration lists.
    pub issuer: String,
    /// The `sub`: who will use it; it goes into the audit log.
    pub subject: String,
    /// The `aud`: the node's name.
    pub audience: String,
    /// What it allows.
    pub scopes: Vec<Scope>,
    /// The tenant that `tenant:admin`, `deploy` and `read` are for.
    pub tenant: Option<TenantName>,
    /// How long it is valid, in seconds.
    pub lifetime_s: u64,
}

/// Why no token is made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenRequestError {
    /// Nothing allowed.
    #[error("a token needs at least one scope")]
    NoScope,
    /// A scope of a tenant without a tenant.
    #[error("the scope `{scope}` is for one tenant: name it")]
    NoTenant {
        /// The scope.
        scope: Scope,
    },
    /// A tenant that no scope is for.
    #[error("the token names tenant `{tenant}`, but none of its scopes is for a tenant")]
    UselessTenant {
        /// The tenant.
        tenant: TenantName,
    },
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    iat: u64,
    nbf: u64,
    exp: u64,
    scope: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a TenantName>,
}

/// Signs a token that is valid from `now`, in seconds since 1970.
///
/// # Errors
/// [`TokenRequestError`] for a request that no node would find useful.
pub fn mint(
    key: &PrivateKey,
    request: &TokenRequest,
    now: u64,
) -> Result<String, TokenRequestError> {
    if request.scopes.is_empty() {
        return Err(TokenRequestError::NoScope);
    }
    let of_tenant = request.scopes.iter().find(|scope| scope.is_of_tenant());
    match (of_tenant, &request.tenant) {
        (Some(scope), None) => return Err(TokenRequestError::NoTenant { scope: *scope }),
        (None, Some(tenant)) => {
            return Err(TokenRequestError::UselessTenant {
                tenant: tenant.clone(),
            });
        }
        _ => {}
    }
    let scopes: Vec<_> = request.scopes.iter().map(|scope| scope.as_str()).collect();
    Ok(key.sign_compact(
        "JWT",
        &Claims {
            iss: &request.issuer,
            sub: &request.subject,
            aud: &request.audience,
            iat: now,
            nbf: now,
            exp: now.saturating_add(request.lifetime_s),
            scope: scopes.join(" "),
            tenant: request.tenant.as_ref(),
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn useless_requests_are_refused() {
        let key = PrivateKey::generate().unwrap();
        let request = |scopes: &[Scope], tenant: Option<&str>| TokenRequest {
            issuer: "i".to_owned(),
            subject: "s".to_owned(),
            audience: "n".to_owned(),
            scopes: scopes.to_vec(),
            tenant: tenant.map(|name| name.parse().unwrap()),
            lifetime_s: 60,
        };
        assert_eq!(
            mint(&key, &request(&[], None), 0),
            Err(TokenRequestError::NoScope)
        );
        assert_eq!(
            mint(&key, &request(&[Scope::Deploy], None), 0),
            Err(TokenRequestError::NoTenant {
                scope: Scope::Deploy
            })
        );
        assert!(matches!(
            mint(&key, &request(&[Scope::NodeRead], Some("acme")), 0),
            Err(TokenRequestError::UselessTenant { .. })
        ));
        assert!(mint(&key, &request(&[Scope::Deploy], Some("acme")), 0).is_ok());
    }
}
