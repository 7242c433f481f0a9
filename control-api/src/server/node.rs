//! The node: who it is, how it stands, what was changed.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use super::Api;
use super::access::{Greet, NodeAccess, ReadNode};
use super::extract::{InQuery, NoQuery, PageQuery};
use super::openapi::ReadProblems;
use super::reply::{json, page};
use crate::problem::Fault;
use crate::view::{AuditEntry, NodeInfo, NodeStatus, Page};

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
