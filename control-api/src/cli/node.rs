//! `littoral node`: what a node says of itself.

use clap::Subcommand;
use serde_json::json;

use super::context::Context;
use super::failure::Failure;
use super::output::facts;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Its name and where it serves; any token will do
    Show,
    /// Whether the process answers; needs no token
    Alive,
    /// Whether guests would be served now; needs no token
    Ready,
    /// The Prometheus text exposition
    Metrics,
    /// The OpenAPI description of the admin API; needs no token
    Openapi,
}

pub(super) async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    let client = context.client()?;
    match command {
        Command::Show => {
            let node = client.node().await?;
            context.show(&node, || {
                facts(&[
                    ("node", node.node.clone()),
                    ("version", node.version.clone()),
                    ("state", format!("{:?}", node.state).to_lowercase()),
                    ("serves on", node.http.join(" ")),
                ])
            })
        }
        Command::Alive => {
            client.alive().await?;
            context.show(&json!({ "alive": true }), || {
                "the node answers\n".to_owned()
            })
        }
        Command::Ready => {
            client.ready().await?;
            context.show(&json!({ "ready": true }), || {
                "the node is ready\n".to_owned()
            })
        }
        Command::Metrics => {
            let metrics = client.metrics().await?;
            context.show(&json!({ "metrics": metrics }), || metrics.clone())
        }
        Command::Openapi => {
            let document = client.openapi().await?;
            context.show(&document, || format!("{document:#}\n"))
        }
    }
}
