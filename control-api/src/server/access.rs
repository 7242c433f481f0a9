//! Access as extractors: a handler that does not name what it needs has no tenant and no caller to pass on.
//!
//! They come first among a handler's arguments, so that nothing else of a request is looked at before.

use std::marker::PhantomData;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use edge_config::TenantName;
use http::header::AUTHORIZATION;
use http::request::Parts;

use super::Api;
use super::envelope::RequestContext;
use super::extract::InPath;
use crate::auth::{Need, Principal};
use crate::plane::Caller;
use crate::problem::{Fault, RequestError};

/// A [`Need`] as a type.
pub(super) trait Requirement: Send + Sync + 'static {
    const NEED: Need;
}

macro_rules! requirements {
    ($($name:ident)+) => {$(
        #[derive(Debug)]
        pub(super) struct $name;
        impl Requirement for $name {
            const NEED: Need = Need::$name;
        }
    )+};
}

requirements! { Greet ReadNode AdminNode ReadSettings ReadWork Deploy AdminTenant }

/// The caller may do `N` to the node.
#[derive(Debug)]
pub(super) struct NodeAccess<N> {
    /// Who asks, for the audit log.
    pub(super) caller: Caller,
    need: PhantomData<N>,
}

impl<N: Requirement> FromRequestParts<Api> for NodeAccess<N> {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Fault> {
        let (principal, context) = authenticate(parts, api).await?;
        principal.may(N::NEED)?;
        Ok(Self {
            caller: caller(&principal, &context),
            need: PhantomData,
        })
    }
}

/// The caller may do `N` to the tenant in the path.
#[derive(Debug)]
pub(super) struct TenantAccess<N> {
    /// The tenant.
    pub(super) tenant: TenantName,
    /// Who asks, for the audit log.
    pub(super) caller: Caller,
    /// When the token ends, in seconds since 1970.
    pub(super) expires_at: u64,
    need: PhantomData<N>,
}

impl<N: Requirement> FromRequestParts<Api> for TenantAccess<N> {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Fault> {
        let (principal, context) = authenticate(parts, api).await?;
        let InPath(tenant) = InPath::<TenantName>::from_request_parts(parts, api).await?;
        principal.may_on(N::NEED, &tenant)?;
        Ok(Self {
            tenant,
            caller: caller(&principal, &context),
            expires_at: principal.expires_at,
            need: PhantomData,
        })
    }
}

fn caller(principal: &Principal, context: &RequestContext) -> Caller {
    Caller {
        who: principal.who(),
        request_id: context.id.as_str().to_owned(),
    }
}

async fn authenticate(parts: &Parts, api: &Api) -> Result<(Principal, RequestContext), Fault> {
    let context = parts
        .extensions
        .get::<RequestContext>()
        .cloned()
        .ok_or_else(|| RequestError::TaskLost {
            inside: "a request passed the outermost layer by".to_owned(),
        })?;
    let authenticator = &api.options.authenticator;
    // A token says more than a certificate: who sends one means it.
    let by_certificate = parts
        .extensions
        .get::<Arc<Principal>>()
        .filter(|_| !parts.headers.contains_key(AUTHORIZATION))
        // Checked when the connection began, which may be long ago.
        .filter(|client| client.expires_at > authenticator.now());
    let principal = match by_certificate {
        Some(client) => Principal::clone(client),
        None => authenticator.authenticate(&parts.headers).await?,
    };
    // Only the log line reads it; a second extractor on one request would say the same.
    let _ = context.who.set(principal.who());
    Ok((principal, context))
}
