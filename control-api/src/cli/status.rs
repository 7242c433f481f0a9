//! `littoral status`: how the node stands.

use super::context::Context;
use super::failure::Failure;
use super::output::facts;
use crate::view::Confinement;

pub(super) async fn run(context: &Context) -> Result<(), Failure> {
    let status = context.client()?.status().await?;
    context.show(&status, || {
        facts(&[
            ("node", status.node.clone()),
            ("state", format!("{:?}", status.state).to_lowercase()),
            (
                "version",
                format!("{} (wasmtime {})", status.version, status.wasmtime),
            ),
            ("pid", status.pid.to_string()),
            ("up", format!("{} s", status.uptime_s)),
            ("serves on", status.http.join(" ")),
            ("over TLS on", status.https.join(" ")),
            ("tenants", status.tenants.to_string()),
            ("modules", status.modules.to_string()),
            ("routes", status.routes.to_string()),
            ("artifacts", status.artifacts.to_string()),
            ("compile queue", status.compile_queue.to_string()),
            (
                "worker",
                format!(
                    "{}, pid {}, {} restarts, {} instances, {} modules resident",
                    if status.worker.ready {
                        "ready"
                    } else {
                        "not ready"
                    },
                    status.worker.pid,
                    status.worker.restarts,
                    status.worker.instances,
                    status.worker.resident_modules
                ),
            ),
            ("confined by", confined_by(&status.worker.confinement)),
            (
                "revision",
                format!(
                    "{} (worker serves {})",
                    status.revision, status.worker.table_revision
                ),
            ),
        ])
    })
}

fn confined_by(confinement: &Confinement) -> String {
    let landlock = match confinement.landlock_abi {
        0 => "no landlock".to_owned(),
        abi => format!("landlock {abi}"),
    };
    let capabilities = if confinement.without_capabilities {
        "no capabilities"
    } else {
        "capabilities to gain"
    };
    format!(
        "system calls {}, {landlock}, user {}, {capabilities}",
        confinement.filter, confinement.user_id
    )
}
