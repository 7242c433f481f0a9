//! Why a caller is turned away, and the challenge that says so.

use http::HeaderValue;

use super::Scope;

/// Why a request is refused with 401 or 403.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AuthError {
    /// No `Authorization` header.
    #[error("this needs a token: send `Authorization: Bearer <token>`")]
    Missing,
    /// `Basic` or another scheme.
    #[error("`Authorization` uses the scheme `{scheme}`; only `Bearer` is accepted")]
    Scheme {
        /// The scheme as it came, shortened to 32 characters.
        scheme: String,
    },
    /// More than one `Authorization` header.
    #[error("`Authorization` is there more than once; send it once")]
    Twice,
    /// The token is not accepted.
    #[error(transparent)]
    Token(#[from] TokenFault),
    /// The token is good, its scopes are not enough.
    #[error("none of the token's scopes allows this; needed: one of {}", list(.needed))]
    Scope {
        /// Any one of these would do.
        needed: &'static [Scope],
    },
    /// A tenant's scope without a tenant.
    #[error("the token's scopes are for one tenant, but it has no `tenant` claim")]
    TenantClaim,
}

/// What is wrong with a bearer token.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TokenFault {
    /// Not three base64url parts with a JSON header.
    #[error("the token is not a signed JWT in compact form: {why}")]
    Malformed {
        /// What does not fit.
        why: String,
    },
    /// `none`, HMAC, or anything this node never takes.
    #[error(
        "the token's `alg` is `{alg}`; accepted are EdDSA, ES256 and RS256, as each trusted key says"
    )]
    Algorithm {
        /// The algorithm as it came, shortened to 32 characters.
        alg: String,
    },
    /// An algorithm other than the key's.
    #[error("the token's `alg` is `{alg}`, the key `{kid}` is for `{pinned}` only")]
    AlgorithmOfKey {
        /// The algorithm in the token's header.
        alg: String,
        /// The trusted key.
        kid: String,
        /// Its one algorithm.
        pinned: &'static str,
    },
    /// `crit` names an extension.
    #[error("the token's header has `crit`; this node knows no critical extension")]
    Critical,
    /// No trusted key of this id.
    #[error("this node trusts no key `{kid}`")]
    KeyUnknown {
        /// The id as it came, shortened to 128 characters.
        kid: String,
    },
    /// No `kid`, and not exactly one trusted key.
    #[error("the token names no key (`kid`), and this node trusts {trusted} keys")]
    KeyUnnamed {
        /// How many keys are trusted.
        trusted: usize,
    },
    /// The signature does not verify.
    #[error("the token's signature does not verify with key `{kid}`")]
    Signature {
        /// The key it names.
        kid: String,
    },
    /// A claim is missing or of the wrong type.
    #[error("the token's claims are not well formed: {why}")]
    Claims {
        /// Which, and why.
        why: String,
    },
    /// A required claim is not there.
    #[error("the token has no `{claim}` claim")]
    ClaimMissing {
        /// The claim.
        claim: &'static str,
    },
    /// Issued by someone else.
    #[error("the token's issuer is not one this node trusts")]
    Issuer,
    /// For another node.
    #[error("the token is for another audience; this node is `{node}`")]
    Audience {
        /// This node's name.
        node: String,
    },
    /// `exp` is past.
    #[error("the token expired at {exp}; now is {now} (seconds since 1970)")]
    Expired {
        /// Its `exp`.
        exp: u64,
        /// The node's clock.
        now: u64,
    },
    /// `nbf` or `iat` is ahead.
    #[error("the token is valid from {from}; now is {now} (seconds since 1970)")]
    NotYetValid {
        /// Its `nbf` or `iat`.
        from: u64,
        /// The node's clock.
        now: u64,
    },
    /// Valid for longer than this node accepts.
    #[error("the token is valid for {lifetime_s} s; at most {lifetime_s_max} s is accepted")]
    Lifetime {
        /// Its lifetime, in seconds.
        lifetime_s: u64,
        /// The longest accepted, in seconds.
        lifetime_s_max: u64,
    },
    /// `tenant` is not a tenant's name.
    #[error("the token's `tenant` claim is not a tenant name: {why}")]
    Tenant {
        /// Which rule it breaks.
        why: String,
    },
}

impl AuthError {
    /// The `WWW-Authenticate` header (RFC 6750 §3): no error code where no token came, so that a client learns no more
    /// than the scheme.
    pub fn challenge(&self) -> HeaderValue {
        let text = match self {
            AuthError::Missing => r#"Bearer realm="littoral""#.to_owned(),
            AuthError::Twice | AuthError::Scheme { .. } => challenge("invalid_request", self, None),
            AuthError::Token(_) => challenge("invalid_token", self, None),
            AuthError::Scope { needed } => challenge("insufficient_scope", self, Some(needed)),
            AuthError::TenantClaim => challenge("insufficient_scope", self, None),
        };
        HeaderValue::from_str(&text).expect("only visible ASCII was let through")
    }
}

fn challenge(code: &str, error: &AuthError, scopes: Option<&[Scope]>) -> String {
    // error_description may hold %x20-21 / %x23-5B / %x5D-7E only (RFC 6750 §3).
    let description: String = error
        .to_string()
        .chars()
        .map(|c| match c {
            '"' | '\\' => '\'',
            ' '..='~' => c,
            _ => '?',
        })
        .collect();
    let mut text =
        format!(r#"Bearer realm="littoral", error="{code}", error_description="{description}""#);
    if let Some(scopes) = scopes {
        let scopes: Vec<_> = scopes.iter().map(|scope| scope.as_str()).collect();
        text.push_str(&format!(r#", scope="{}""#, scopes.join(" ")));
    }
    text
}

fn list(scopes: &[Scope]) -> String {
    let scopes: Vec<_> = scopes
        .iter()
        .map(|scope| format!("`{}`", scope.as_str()))
        .collect();
    scopes.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_cannot_be_broken_out_of() {
        let error = AuthError::Token(TokenFault::KeyUnknown {
            kid: "a\"\\\r\n\u{e9}".to_owned(),
        });
        let value = error.challenge();
        let text = value.to_str().unwrap();
        assert!(text.contains("`a''???`"), "{text}");
        assert!(text.contains(r#"error="invalid_token""#), "{text}");
    }
}
