//! What tenants cost that nobody asks for: memory after a start, and how long a start takes.

use std::time::Duration;

use littoral_tests::TestEdge;
use littoral_tests::measure::{Line, Plot, Scale, Table, memory_kib};
use serde_json::{Value, json};

use crate::Part;
use crate::publish;

/// Until a start has come to rest.
const REST: Duration = Duration::from_secs(2);

struct Found {
    tenants: usize,
    ready: Duration,
    control_mib: f64,
    worker_mib: f64,
    anonymous_mib: f64,
    shared_once_mib: f64,
}

/// A node of each size after a start, with nothing asked.
pub(crate) async fn measure(most: usize) -> Part {
    let sizes = [1, 10, 100, 1000, 10_000]
        .into_iter()
        .filter(|size| *size < most);
    let mut found = Vec::new();
    for tenants in sizes.chain([most]) {
        let (edge, ready) = publish::node(tenants).await;
        tokio::time::sleep(REST).await;
        found.push(look(&edge, tenants, ready).await);
    }
    Part {
        name: "idle",
        text: table(&found),
        json: found.iter().map(Found::json).collect(),
        pictures: vec![("memory-against-tenants", picture(&found))],
    }
}

async fn look(edge: &TestEdge, tenants: usize, ready: Duration) -> Found {
    let status = edge.status().await;
    assert_eq!(status.tenants, tenants as u64, "what was kept is whole");
    let (control, worker) = (edge.pid(), status.worker.pid);
    let mib = |pids: &[u32], what: &str| memory_kib(pids, what) as f64 / 1024.0;
    let both = [control, worker];
    Found {
        tenants,
        ready,
        control_mib: mib(&[control], "VmRSS"),
        worker_mib: mib(&[worker], "VmRSS"),
        anonymous_mib: mib(&both, "RssAnon"),
        shared_once_mib: mib(&both, "Pss"),
    }
}

impl Found {
    fn all_mib(&self) -> f64 {
        self.control_mib + self.worker_mib
    }

    fn json(&self) -> Value {
        json!({
            "tenants": self.tenants,
            "ready_ms": self.ready.as_secs_f64() * 1000.0,
            "control_rss_mib": self.control_mib,
            "worker_rss_mib": self.worker_mib,
            "rss_mib": self.all_mib(),
            "anonymous_mib": self.anonymous_mib,
            "pss_mib": self.shared_once_mib,
        })
    }
}

fn table(found: &[Found]) -> String {
    let mut table = Table::new(&[
        "tenants",
        "ready after start",
        "RSS control",
        "RSS worker",
        "RSS together",
        "of it anonymous",
        "PSS together",
    ]);
    for one in found {
        table.row([
            one.tenants.to_string(),
            format!("{} ms", one.ready.as_millis()),
            format!("{:.1} MiB", one.control_mib),
            format!("{:.1} MiB", one.worker_mib),
            format!("{:.1} MiB", one.all_mib()),
            format!("{:.1} MiB", one.anonymous_mib),
            format!("{:.1} MiB", one.shared_once_mib),
        ]);
    }
    table.text().to_owned()
}

fn picture(found: &[Found]) -> String {
    let line = |name: &str, of: fn(&Found) -> f64| Line {
        name: name.to_owned(),
        points: found
            .iter()
            .map(|one| (one.tenants as f64, of(one)))
            .collect(),
    };
    let plot = Plot {
        title: "Idle memory against tenants",
        x: ("tenants, each with a component of its own", Scale::Tens),
        y: ("MiB", Scale::Even),
        lines: vec![
            line("RSS, control and worker", Found::all_mib),
            line("RSS, control", |one| one.control_mib),
            line("RSS, worker", |one| one.worker_mib),
            line("anonymous, both", |one| one.anonymous_mib),
        ],
    };
    plot.svg()
}
