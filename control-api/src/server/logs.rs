//! What guests wrote: a list, or server-sent events that go on.

use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::Api;
use super::access::{ReadWork, TenantAccess};
use super::extract::{InQuery, limit_within};
use super::openapi::FollowProblems;
use super::reply::json;
use crate::plane::LogQuery;
use crate::problem::{Fault, RequestError};
use crate::view::{LogLine, Page};

/// How often a silent stream carries a comment, so that both ends notice a dead connection.
const KEEP_ALIVE_S: u64 = 15;

/// Which lines.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogsQuery {
    #[serde(default)]
    follow: bool,
    after: Option<u64>,
    limit: Option<usize>,
}

/// What a tenant's guests wrote, oldest first.
///
/// With `follow=true` the answer is `text/event-stream`: one event a line, its `id` the line's `seq`, its data the line
/// as JSON. It goes on until the client leaves, the token expires or the node stops; `Last-Event-ID` resumes it.
#[utoipa::path(
    get,
    path = "/v1/tenants/{tenant}/logs",
    tag = "tenants",
    operation_id = "get_logs",
    params(
        ("tenant" = String, Path, description = "The tenant's name"),
        ("follow" = Option<bool>, Query, description = "Stay, and send what comes"),
        ("after" = Option<u64>, Query, description = "Only lines after this `seq`"),
        ("limit" = Option<u16>, Query, description = "Only this many of the newest lines to begin with, 1 to 1000; 100 where absent", minimum = 1, maximum = 1000),
        ("Last-Event-ID" = Option<u64>, Header, description = "As `after`, and before it")
    ),
    responses(
        (status = 200, description = "The lines", content(
            (Page<LogLine> = "application/json"),
            (String = "text/event-stream")
        )),
        FollowProblems
    ),
    security(("bearer" = ["node:admin", "node:read", "tenant:admin", "deploy", "read"]))
)]
pub(super) async fn logs(
    access: TenantAccess<ReadWork>,
    State(api): State<Api>,
    InQuery(query): InQuery<LogsQuery>,
    headers: HeaderMap,
) -> Result<Response, Fault> {
    let lines_max = limit_within(query.limit)?;
    let after_seq = last_event_id(&headers)?.or(query.after);
    // The place is taken before the plane begins a stream.
    let follower = query
        .follow
        .then(|| api.followers.join(&access.tenant))
        .transpose()?;
    let lines = api
        .plane()
        .logs(
            &access.tenant,
            LogQuery {
                after_seq,
                lines_max: Some(lines_max),
                follow: query.follow,
            },
        )
        .await?;
    let Some(follower) = follower else {
        let items: Vec<LogLine> = lines.take(lines_max).collect().await;
        return json(
            StatusCode::OK,
            &Page {
                items,
                next_after: None,
            },
        );
    };
    let valid_s = access
        .expires_at
        .saturating_sub(api.options.authenticator.now());
    let closing = api.closing.clone();
    let end = async move {
        tokio::select! {
            () = closing.cancelled() => {}
            () = tokio::time::sleep(Duration::from_secs(valid_s)) => {}
        }
    };
    let events = lines.take_until(Box::pin(end)).map(move |line| {
        // The place is held for as long as the stream lives.
        let _ = &follower;
        Event::default().id(line.seq.to_string()).json_data(&line)
    });
    Ok(Sse::new(events)
        .keep_alive(KeepAlive::new().interval(Duration::from_secs(KEEP_ALIVE_S)))
        .into_response())
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, RequestError> {
    headers
        .get("last-event-id")
        .map(|value| {
            value
                .to_str()
                .ok()
                .and_then(|text| text.trim().parse().ok())
                .ok_or_else(|| RequestError::Header {
                    name: "Last-Event-ID",
                    why: "it is not the `id` of an event of this stream".to_owned(),
                })
        })
        .transpose()
}
