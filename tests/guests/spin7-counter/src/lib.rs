//! A Spin program of SDK 7 as people have it: a counter in the default store.

use spin_sdk::http::{IntoResponse, Request, Response};
use spin_sdk::http_service;
use spin_sdk::key_value::Store;

#[http_service]
async fn handle_counter(_req: Request) -> anyhow::Result<impl IntoResponse> {
    let store = Store::open_default().await?;
    let count: u32 = store
        .get("visits")
        .await?
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .and_then(|s| s.parse().ok())
        .unwrap_or(0);
    let new_count = count + 1;
    store
        .set("visits", new_count.to_string().as_bytes())
        .await?;
    Ok(Response::new(format!("Visit number: {new_count}")))
}
