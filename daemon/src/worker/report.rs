//! What a worker tells control about itself.

use std::time::Instant;

use crate::engine::{Resident, Resting};
use crate::gateway::{Acceptor, Gateway, TableBuilder};
use crate::link::WorkerReport;

/// All that happened since the last report, and how things stand.
pub(super) fn now(
    builder: &TableBuilder,
    gateway: &Gateway,
    acceptor: &Acceptor,
    resident: &Resident,
    resting: &Resting,
) -> WorkerReport {
    let (loads, evictions, load_us) = resident.take_figures();
    WorkerReport {
        tenants: builder
            .tenants()
            .filter_map(|tenant| tenant.report(Instant::now()))
            .collect(),
        unrouted: gateway.take_unrouted(),
        instances: gateway.instances(),
        resting_instances: resting.count(),
        reused: resting.take_reused(),
        resident_modules: resident.count() as u64,
        connections: acceptor.open(),
        loads,
        evictions,
        resident_bytes: resident.bytes(),
        buffer_bytes: gateway.buffers().used_bytes(),
        load_us,
        handshakes: acceptor.handshakes().take_counts(),
    }
}

/// The same, or nothing where no request came and none is under way.
pub(super) fn since_last(
    builder: &TableBuilder,
    gateway: &Gateway,
    acceptor: &Acceptor,
    resident: &Resident,
    resting: &Resting,
) -> Option<WorkerReport> {
    let report = now(builder, gateway, acceptor, resident, resting);
    let silent = report.tenants.is_empty()
        && report.unrouted.is_empty()
        && report.loads == 0
        && report.handshakes.outcomes.is_empty();
    (!silent).then_some(report)
}
