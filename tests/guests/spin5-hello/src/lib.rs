//! A Spin program of SDK 5 as people have it: a greeting, and a line of what it was asked.

use spin_sdk::http::{IntoResponse, Request, Response};
use spin_sdk::http_component;

#[http_component]
fn handle_hello(req: Request) -> anyhow::Result<impl IntoResponse> {
    println!("Handling request to {:?}", req.header("spin-full-url"));
    Ok(Response::builder().status(200).header("content-type", "text/plain")
        .body("Hello from WebAssembly!").build())
}
