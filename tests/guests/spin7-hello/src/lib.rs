//! A Spin program of SDK 7 as people have it: a greeting, and a line of what it was asked.

use spin_sdk::http::{IntoResponse, Request};
use spin_sdk::http_service;

#[http_service]
async fn handle_hello(req: Request) -> anyhow::Result<impl IntoResponse> {
    println!("Handling request to {:?}", req.headers().get("spin-full-url"));
    Ok("Hello from WebAssembly!")
}
