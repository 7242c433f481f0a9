//! What may be longer than a frame, in pieces that are not: neither the number of tenants nor what their guests write
//! ends a link.

use tokio::sync::mpsc;

use super::message::{GuestLine, TableChange, TenantCounts, ToControl, ToWorker, WorkerReport};

/// Changes to the routing table in one frame. The longest one, a route with the longest host and path, has some 1.5 KiB;
/// certificates count for as many as their bytes.
const CHANGES_PER_FRAME: usize = 4096;
/// What one change counts for at most, in bytes of its certificates.
const CHANGE_BYTES: usize = 1536;
/// Tenants' counts in one frame. The longest have some 2 KiB.
const COUNTS_PER_FRAME: usize = 1024;
/// Lines in one frame.
const LINES_PER_FRAME: usize = 512;
/// No line joins a frame that has as many bytes already.
const LINES_BYTES_PER_FRAME: usize = 1 << 20;

/// A table, or changes to it, as messages.
pub fn table(
    revision: u64,
    full: bool,
    changes: Vec<TableChange>,
) -> impl Iterator<Item = ToWorker> {
    pieces(changes, CHANGES_PER_FRAME, weight)
        .enumerate()
        .map(move |(number, (changes, more))| ToWorker::Table {
            revision,
            full: full && number == 0,
            changes,
            more,
        })
}

/// A report as messages: the counts of tenants that do not fit its own frame before it.
pub fn report(mut report: WorkerReport) -> impl Iterator<Item = ToControl> {
    let tenants = std::mem::take(&mut report.tenants);
    let mut report = Some(report);
    pieces(tenants, COUNTS_PER_FRAME, |_| 1).filter_map(move |(tenants, more)| {
        if more {
            return Some(ToControl::Counts(tenants));
        }
        // The last piece comes once.
        let report = report.take()?;
        Some(ToControl::Report(WorkerReport { tenants, ..report }))
    })
}

/// A line and those that wait behind it, as far as they fit one frame.
pub fn lines_in_one_frame(first: GuestLine, waiting: &mut mpsc::Receiver<GuestLine>) -> ToControl {
    let mut bytes = bytes_of(&first);
    let mut lines = vec![first];
    while lines.len() < LINES_PER_FRAME && bytes < LINES_BYTES_PER_FRAME {
        let Ok(line) = waiting.try_recv() else { break };
        bytes += bytes_of(&line);
        lines.push(line);
    }
    ToControl::Lines(lines)
}

/// The counts of a report's tenants, put together again.
#[derive(Debug, Default)]
pub struct Counts(Vec<TenantCounts>);

impl Counts {
    /// Tenants that one report may be about: more than a node has room for.
    const TENANTS_MAX: usize = 1_000_000;

    /// Keeps a piece until the report comes. What is beyond the bound is no report of ours, and is dropped.
    pub fn keep(&mut self, piece: Vec<TenantCounts>) {
        let room = Self::TENANTS_MAX.saturating_sub(self.0.len());
        self.0.extend(piece.into_iter().take(room));
    }

    /// The whole report.
    #[must_use]
    pub fn complete(&mut self, mut report: WorkerReport) -> WorkerReport {
        if !self.0.is_empty() {
            let last = std::mem::replace(&mut report.tenants, std::mem::take(&mut self.0));
            report.tenants.extend(last);
        }
        report
    }
}

fn bytes_of(line: &GuestLine) -> usize {
    line.tenant.len() + line.module.len() + line.request_id.len() + line.text.len()
}

/// How many changes a change counts for.
fn weight(change: &TableChange) -> usize {
    let TableChange::Certificate { target, .. } = change else {
        return 1;
    };
    let chain: usize = target.chain.iter().map(Vec::len).sum();
    let names: usize = target.names.iter().map(|name| name.len() + 4).sum();
    1 + (chain + names) / CHANGE_BYTES
}

/// At least one piece, each with whether more follow. A piece holds one item, or several that weigh `most` together at
/// most.
fn pieces<T>(
    items: Vec<T>,
    most: usize,
    weight: impl Fn(&T) -> usize,
) -> impl Iterator<Item = (Vec<T>, bool)> {
    let mut items = items.into_iter().peekable();
    let mut left = true;
    std::iter::from_fn(move || {
        if !left {
            return None;
        }
        let mut piece = Vec::new();
        let mut weighs = 0;
        while let Some(item) =
            items.next_if(|item| weighs == 0 || weight(item).saturating_add(weighs) <= most)
        {
            weighs += weight(&item);
            piece.push(item);
        }
        left = items.peek().is_some();
        Some((piece, left))
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::link::signing::SigningKeyId;
    use crate::link::{
        ArtifactName, CertificateTarget, FrameBounds, LinkReader, LinkWriter, ModuleTarget, World,
        split,
    };

    /// From control to a worker and back.
    fn link() -> ((LinkReader, LinkWriter), (LinkReader, LinkWriter)) {
        let (control, worker) = UnixStream::pair().unwrap();
        (
            split(control, FrameBounds::CONTROL).unwrap(),
            split(worker, FrameBounds::WORKER).unwrap(),
        )
    }

    /// The longest names there are.
    fn route(number: usize) -> TableChange {
        TableChange::Route {
            host: format!("{number:0>253}"),
            path: "/".repeat(1024),
            tenant: "t".repeat(63),
            target: ModuleTarget {
                module: "m".repeat(63),
                version: u64::MAX,
                artifact: ArtifactName([255; 32]),
                world: World::Proxy02,
                grants: None,
                reuse: Some(crate::link::Reuse {
                    requests_max: u32::MAX,
                    idle_ms_max: u64::MAX,
                    concurrency_max: u32::MAX,
                    memory_bytes_max: u64::MAX,
                }),
            },
        }
    }

    #[tokio::test]
    async fn the_table_of_a_hundred_thousand_routes_fits_the_link() {
        let ((_, mut writer), (mut reader, _)) = link();
        let sending = async {
            for message in table(7, true, (0..100_000).map(route).collect()) {
                writer.send(&message, &[]).await.unwrap();
            }
        };
        let receiving = async {
            let (mut routes, mut pieces) = (0, 0);
            loop {
                let ToWorker::Table {
                    revision: 7,
                    full,
                    changes,
                    more,
                } = reader.receive().await.unwrap().0
                else {
                    panic!("no table");
                };
                assert_eq!(full, pieces == 0);
                pieces += 1;
                routes += changes.len();
                if !more {
                    return (routes, pieces);
                }
            }
        };
        let ((), (routes, pieces)) = tokio::join!(sending, receiving);
        assert_eq!(routes, 100_000);
        assert!(pieces > 1);
    }

    /// A frame of as many certificates as routes would be longer than a worker takes.
    #[tokio::test]
    async fn the_longest_certificates_fit_the_link() {
        let ((_, mut writer), (mut reader, _)) = link();
        let certificate = |number: usize| TableChange::Certificate {
            tenant: "t".repeat(32),
            name: format!("{number:0>63}"),
            target: CertificateTarget {
                names: vec!["n".repeat(253); 100],
                chain: vec![vec![7; 3_600]; 10],
                key: SigningKeyId([1; 32]),
                schemes: vec![0x0403; 6],
                not_after_s: u64::MAX,
            },
        };
        let sending = async {
            for message in table(7, true, (0..600).map(certificate).collect()) {
                writer.send(&message, &[]).await.unwrap();
            }
        };
        let receiving = async {
            let mut received = 0;
            loop {
                let ToWorker::Table { changes, more, .. } = reader.receive().await.unwrap().0
                else {
                    panic!("no table");
                };
                received += changes.len();
                if !more {
                    return received;
                }
            }
        };
        let ((), received) = tokio::join!(sending, receiving);
        assert_eq!(received, 600);
    }

    #[tokio::test]
    async fn a_report_on_a_hundred_thousand_tenants_fits_the_link() {
        let ((mut reader, _), (_, mut writer)) = link();
        let counts = |number: usize| TenantCounts {
            tenant: format!("{number:0>63}"),
            requests: u64::MAX,
            refusals: vec![("a-reason-of-some-length".to_owned(), u64::MAX); 6],
            duration_buckets: vec![u64::MAX; 24],
            status_classes: [u64::MAX; 5],
            ..TenantCounts::default()
        };
        let whole = WorkerReport {
            tenants: (0..100_000).map(counts).collect(),
            instances: 3,
            ..WorkerReport::default()
        };
        let sent = whole.clone();
        let sending = async {
            for message in report(sent) {
                writer.send(&message, &[]).await.unwrap();
            }
        };
        let receiving = async {
            let mut counts = Counts::default();
            loop {
                match reader.receive::<ToControl>().await.unwrap().0 {
                    ToControl::Counts(piece) => counts.keep(piece),
                    ToControl::Report(report) => return counts.complete(report),
                    other => panic!("{other:?}"),
                }
            }
        };
        let ((), received) = tokio::join!(sending, receiving);
        assert_eq!((received.tenants, received.instances), (whole.tenants, 3));
    }

    #[test]
    fn a_report_on_nobody_is_one_message() {
        let messages: Vec<_> = report(WorkerReport::default()).collect();
        assert!(matches!(messages.as_slice(), [ToControl::Report(_)]));
    }

    /// 512 of the longest lines once made a frame that control did not take: a tenant ended the link, and with it the
    /// worker of all, by what it logged.
    #[tokio::test]
    async fn lines_as_long_as_they_may_be_fit_the_link() {
        let ((mut reader, _), (_, mut writer)) = link();
        let line = |number: usize| GuestLine {
            tenant: "t".repeat(63),
            module: "m".repeat(63),
            request_id: "r".repeat(128),
            stream: 0,
            at_ms: number as u64,
            // A byte that is no UTF-8 becomes three.
            text: "\u{fffd}".repeat(65_536),
        };
        let (sender, mut waiting) = mpsc::channel(512);
        for number in 0..512 {
            sender.try_send(line(number)).unwrap();
        }
        drop(sender);
        let sending = async {
            while let Some(first) = waiting.recv().await {
                let message = lines_in_one_frame(first, &mut waiting);
                writer.send(&message, &[]).await.unwrap();
            }
        };
        let receiving = async {
            let mut seen = 0;
            while seen < 512 {
                let ToControl::Lines(lines) = reader.receive().await.unwrap().0 else {
                    panic!("no lines");
                };
                for line in lines {
                    assert_eq!(line.at_ms, seen);
                    seen += 1;
                }
            }
        };
        tokio::join!(sending, receiving);
    }
}
