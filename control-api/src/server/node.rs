//! The node: who it is, how it stands, what was changed.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use super::Api;
use super::access::{AdminNode, Greet, NodeAccess, ReadNode};
use super::extract::{InQuery, NoQuery, PageQuery};
use super::openapi::{NodeChangeProblems, ReadProblems};
use super::reply::{json, page};
use crate::problem::Fault;
use crate::view::{AuditEntry, NodeInfo, NodeStatus, Page, Reloaded, Upgraded};

/// The node's name and where it serves guests.
///
/// Any token of this node with any scope may ask, so that a publisher can be told the URL of a route.
#[utoipa::path(
    get,
    path = "/v1/node",
    tag = "node",
    operation_id = "get_node",
    responses((status = 200, description = "The node", body = NodeInfo), ReadProblems),
    security(("bearer" = ["node:admin", "node:read", "tenant:admin", "deploy", "read"]))
)]
pub(super) async fn greet(
    _: NodeAccess<Greet>,
    State(api): State<Api>,
    _: InQuery<NoQuery>,
) -> Result<Response, Fault> {
    let status = api.plane().status().await?;
    json(
        StatusCode::OK,
        &NodeInfo {
            node: status.node,
            version: status.version,
            state: status.state,
            http: status.http,
        },
    )
}

/// The node's own figures.
#[utoipa::path(
    get,
    path = "/v1/status",
    tag = "node",
    operation_id = "get_status",
    responses((status = 200, description = "The figures", body = NodeStatus), ReadProblems),
    security(("bearer" = ["node:admin", "node:read"]))
)]
pub(super) async fn status(
    _: NodeAccess<ReadNode>,
    State(api): State<Api>,
    _: InQuery<NoQuery>,
) -> Result<Response, Fault> {
    json(StatusCode::OK, &api.plane().status().await?)
}

/// Reads the node's configuration anew and applies what changed, all of it or nothing.
///
/// What a running node cannot change is named in the refusal. Where the worker's settings changed, the answer comes when a
/// new one accepts connections; the old one finishes what it has.
#[utoipa::path(
    post,
    path = "/v1/node/reload",
    tag = "node",
    operation_id = "reload_node",
    responses((status = 200, description = "What changed", body = Reloaded), NodeChangeProblems),
    security(("bearer" = ["node:admin"]))
)]
pub(super) async fn reload(
    access: NodeAccess<AdminNode>,
    State(api): State<Api>,
    _: InQuery<NoQuery>,
) -> Result<Response, Fault> {
    let plane = api.plane();
    let reloaded = api
        .change(async move { plane.reload(&access.caller).await })
        .await?;
    json(StatusCode::OK, &reloaded)
}

/// Has the node's program, as it is on the disk now, take the place of the one that runs.
///
/// The answer comes when the new one serves; the old one finishes what it has. Where the new one does not come up, the old
/// one goes on.
#[utoipa::path(
    post,
    path = "/v1/node/upgrade",
    tag = "node",
    operation_id = "upgrade_node",
    responses((status = 200, description = "Who serves now", body = Upgraded), NodeChangeProblems),
    security(("bearer" = ["node:admin"]))
)]
pub(super) async fn upgrade(
    access: NodeAccess<AdminNode>,
    State(api): State<Api>,
    _: InQuery<NoQuery>,
) -> Result<Response, Fault> {
    let plane = api.plane();
    let upgraded = api
        .change(async move { plane.upgrade(&access.caller).await })
        .await?;
    json(StatusCode::OK, &upgraded)
}

/// Who changed what: the newest changes first.
#[utoipa::path(
    get,
    path = "/v1/audit",
    tag = "node",
    operation_id = "list_audit",
    params(
        ("limit" = Option<u16>, Query, description = "Most items, 1 to 1000; 100 where absent", minimum = 1, maximum = 1000),
        ("after" = Option<String>, Query, description = "`next_after` of the page before")
    ),
    responses((status = 200, description = "One page", body = Page<AuditEntry>), ReadProblems),
    security(("bearer" = ["node:admin", "node:read"]))
)]
pub(super) async fn audit(
    _: NodeAccess<ReadNode>,
    State(api): State<Api>,
    InQuery(query): InQuery<PageQuery>,
) -> Result<Response, Fault> {
    let request = query.request()?;
    let entries = api.plane().audit(request.clone()).await?;
    page("/v1/audit", &request, &entries)
}
