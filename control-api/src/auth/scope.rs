//! Scopes, and the rule that says which of them an operation needs.
//!
//! Takes a [`Principal`] and a [`Need`]; promises that a tenant's token learns nothing of any other tenant, not even
//! whether it exists.

use edge_config::TenantName;

use super::AuthError;
use crate::error::PlaneError;
use crate::problem::Fault;

/// What a token lets its bearer do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Everything on the node.
    NodeAdmin,
    /// Reading everything of the node and of every tenant.
    NodeRead,
    /// Everything of its tenant, except the tenant's own settings, which are the operator's.
    TenantAdmin,
    /// Uploads and routes of its tenant, how its modules' instances are used, and reading what these need.
    Deploy,
    /// Reading everything of its tenant.
    Read,
}

impl Scope {
    /// Every scope, widest first.
    pub const ALL: &'static [Scope] = &[
        Scope::NodeAdmin,
        Scope::NodeRead,
        Scope::TenantAdmin,
        Scope::Deploy,
        Scope::Read,
    ];

    /// As the `scope` claim spells it (RFC 8693 §4.2).
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::NodeAdmin => "node:admin",
            Scope::NodeRead => "node:read",
            Scope::TenantAdmin => "tenant:admin",
            Scope::Deploy => "deploy",
            Scope::Read => "read",
        }
    }

    /// Whether it is for one tenant, which the `tenant` claim names.
    pub fn is_of_tenant(self) -> bool {
        match self {
            Scope::NodeAdmin | Scope::NodeRead => false,
            Scope::TenantAdmin | Scope::Deploy | Scope::Read => true,
        }
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Scope::ALL
            .iter()
            .copied()
            .find(|scope| scope.as_str() == text)
            .ok_or_else(|| {
                let all: Vec<_> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
                format!("`{text}` is no scope; allowed: {}", all.join(", "))
            })
    }
}

/// What an operation needs of its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Any token of this node with any scope: the node's name and where it serves.
    Greet,
    /// Reading the node.
    ReadNode,
    /// Changing tenants.
    AdminNode,
    /// Reading a tenant's settings and keys.
    ReadSettings,
    /// Reading a tenant's modules, routes, jobs, logs, usage.
    ReadWork,
    /// Uploads, how a module's instances are used, and route changes.
    Deploy,
    /// Publisher keys, and deleting modules.
    AdminTenant,
}

impl Need {
    /// Any one of these scopes will do.
    pub fn scopes(self) -> &'static [Scope] {
        use Scope as S;
        match self {
            Need::Greet => Scope::ALL,
            Need::ReadNode => &[S::NodeAdmin, S::NodeRead],
            Need::AdminNode => &[S::NodeAdmin],
            Need::ReadSettings => &[S::NodeAdmin, S::NodeRead, S::TenantAdmin, S::Read],
            Need::ReadWork => &[
                S::NodeAdmin,
                S::NodeRead,
                S::TenantAdmin,
                S::Deploy,
                S::Read,
            ],
            Need::Deploy => &[S::NodeAdmin, S::TenantAdmin, S::Deploy],
            Need::AdminTenant => &[S::NodeAdmin, S::TenantAdmin],
        }
    }
}

/// Who a good token speaks for.
#[derive(Debug, Clone)]
pub struct Principal {
    /// Its `sub`.
    pub subject: String,
    /// Its `iss`.
    pub issuer: String,
    /// The scopes this node knows; others in the token are for others.
    pub scopes: Vec<Scope>,
    /// The tenant that its tenant scopes are for.
    pub tenant: Option<TenantName>,
    /// When the token ends, in seconds since 1970: streams end with it.
    pub expires_at: u64,
}

impl Principal {
    /// As the audit log names it.
    pub fn who(&self) -> String {
        format!("{} ({})", self.subject, self.issuer)
    }

    /// Whether this caller may do what `need` says to the node.
    ///
    /// # Errors
    /// [`AuthError::Scope`] where no scope is enough.
    pub fn may(&self, need: Need) -> Result<(), AuthError> {
        if self.has(need, |_| true) {
            return Ok(());
        }
        Err(AuthError::Scope {
            needed: need.scopes(),
        })
    }

    /// Whether this caller may do what `need` says to `tenant`.
    ///
    /// # Errors
    /// [`PlaneError::TenantNotFound`] for a tenant that this caller may not see, exactly as for one that is not there;
    /// [`AuthError::Scope`] where it may see the tenant but no scope is enough; [`AuthError::TenantClaim`] where its
    /// scopes are for a tenant that the token does not name.
    pub fn may_on(&self, need: Need, tenant: &TenantName) -> Result<(), Fault> {
        if self.has(need, |scope| !scope.is_of_tenant()) {
            return Ok(());
        }
        let sees_all = self.scopes.iter().any(|scope| !scope.is_of_tenant());
        let of_tenant = self.scopes.iter().any(|scope| scope.is_of_tenant());
        if of_tenant {
            match &self.tenant {
                None => return Err(AuthError::TenantClaim.into()),
                Some(own) if own == tenant => {
                    if self.has(need, Scope::is_of_tenant) {
                        return Ok(());
                    }
                }
                Some(_) if !sees_all => {
                    return Err(PlaneError::TenantNotFound {
                        tenant: tenant.clone(),
                    }
                    .into());
                }
                Some(_) => {}
            }
        }
        Err(AuthError::Scope {
            needed: need.scopes(),
        }
        .into())
    }

    fn has(&self, need: Need, kind: impl Fn(Scope) -> bool) -> bool {
        self.scopes
            .iter()
            .any(|scope| kind(*scope) && need.scopes().contains(scope))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn principal(scopes: &[Scope], tenant: Option<&str>) -> Principal {
        Principal {
            subject: "s".to_owned(),
            issuer: "i".to_owned(),
            scopes: scopes.to_vec(),
            tenant: tenant.map(|name| name.parse().unwrap()),
            expires_at: 0,
        }
    }

    fn check(scopes: &[Scope], tenant: Option<&str>, need: Need) -> &'static str {
        match principal(scopes, tenant).may_on(need, &"acme".parse().unwrap()) {
            Ok(()) => "ok",
            Err(Fault::Plane(PlaneError::TenantNotFound { .. })) => "not there",
            Err(Fault::Auth(AuthError::Scope { .. })) => "scope",
            Err(Fault::Auth(AuthError::TenantClaim)) => "claim",
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_tenants_token_sees_no_other_tenant() {
        for scope in [Scope::TenantAdmin, Scope::Deploy, Scope::Read] {
            for need in [
                Need::ReadSettings,
                Need::ReadWork,
                Need::Deploy,
                Need::AdminTenant,
                Need::AdminNode,
            ] {
                assert_eq!(check(&[scope], Some("other"), need), "not there");
                assert_eq!(check(&[scope], None, need), "claim");
            }
        }
    }

    #[test]
    fn each_scope_gives_what_it_says() {
        let own = Some("acme");
        assert_eq!(check(&[Scope::NodeAdmin], None, Need::AdminNode), "ok");
        assert_eq!(check(&[Scope::NodeRead], None, Need::ReadSettings), "ok");
        assert_eq!(check(&[Scope::NodeRead], None, Need::Deploy), "scope");
        assert_eq!(check(&[Scope::TenantAdmin], own, Need::AdminTenant), "ok");
        assert_eq!(check(&[Scope::TenantAdmin], own, Need::AdminNode), "scope");
        assert_eq!(check(&[Scope::Deploy], own, Need::Deploy), "ok");
        assert_eq!(check(&[Scope::Deploy], own, Need::ReadWork), "ok");
        assert_eq!(check(&[Scope::Deploy], own, Need::ReadSettings), "scope");
        assert_eq!(check(&[Scope::Deploy], own, Need::AdminTenant), "scope");
        assert_eq!(check(&[Scope::Read], own, Need::ReadSettings), "ok");
        assert_eq!(check(&[Scope::Read], own, Need::Deploy), "scope");
        assert_eq!(check(&[], own, Need::ReadWork), "scope");
    }

    #[test]
    fn scopes_of_node_and_tenant_add_up() {
        let both = [Scope::NodeRead, Scope::Deploy];
        assert_eq!(check(&both, Some("acme"), Need::Deploy), "ok");
        assert_eq!(check(&both, Some("other"), Need::ReadWork), "ok");
        // It may see every tenant, so this is no secret: 403, not 404.
        assert_eq!(check(&both, Some("other"), Need::Deploy), "scope");
    }
}
