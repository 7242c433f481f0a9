//! Routes: hostname and path prefix to module.

use edge_config::{HostPattern, ModuleName, PathPrefix, RouteId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A route as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Route {
    /// `host/path`, for instance `hello.localhost/` or `*.acme.test/api`.
    pub id: RouteId,
    /// The hostname, exact or `*.wildcard`.
    pub host: HostPattern,
    /// The path prefix, matched on whole segments.
    pub path: PathPrefix,
    /// The module that answers.
    pub module: ModuleName,
    /// The pinned version; absent follows the module's active one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// The version served now.
    pub serves_version: u64,
}

/// What is written to make or change a route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteWrite {
    /// The module that answers.
    pub module: ModuleName,
    /// A kept version to pin; absent follows the module's active one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
}

/// What a route change would do: the answer to `?dry_run=true`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RouteDryRun {
    /// What the write would do.
    pub would: super::Written,
    /// The route as it would be.
    pub route: Route,
    /// The route as it is, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Route>,
}
