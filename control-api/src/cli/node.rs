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
    /// Read the configuration anew and apply what changed, all or nothing
    Reload,
    /// Have the program that is on the node's disk now take over, without a pause
    Upgrade,
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
        Command::Reload => {
            let reloaded = client.reload().await?;
            context.show(&reloaded, || {
                if reloaded.changed.is_empty() {
                    return "nothing changed\n".to_owned();
                }
                let lines = reloaded.changed.iter().map(|changed| {
                    format!("{}: {} -> {}\n", changed.key, changed.before, changed.after)
                });
                let worker = reloaded.worker_replaced;
                let worker = worker.then(|| "a new worker took over\n".to_owned());
                lines.chain(worker).collect()
            })
        }
        Command::Upgrade => {
            let upgraded = client.upgrade().await?;
            context.show(&upgraded, || {
                facts(&[
                    ("before", upgraded.version_before.clone()),
                    ("now", upgraded.version.clone()),
                    ("pid", upgraded.pid.to_string()),
                ])
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
