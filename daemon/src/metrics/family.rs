//! The table of all families: one place for name, type, unit, labels and meaning.

use std::collections::{BTreeMap, HashMap};

use prometheus::core::Desc;
use prometheus::proto::{self, MetricType};

use super::counts::Histogram;

/// One family as the table has it.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) kind: MetricType,
    /// In words, for the test that holds `METRICS.md` against the table.
    #[cfg(test)]
    pub(super) unit: &'static str,
    /// In the order in which values are given.
    pub(super) labels: &'static [&'static str],
    /// One sentence: the help text and the meaning in `METRICS.md`.
    pub(super) help: &'static str,
}

/// Declares the families and the lists of them.
macro_rules! families {
    ($($list:ident { $($id:ident: $kind:ident $name:literal [$($label:literal),*] $unit:literal $help:literal;)+ })+) => {
        $(
            $(pub(super) static $id: Family = Family {
                name: $name,
                kind: MetricType::$kind,
                #[cfg(test)]
                unit: $unit,
                labels: &[$($label),*],
                help: $help,
            };)+
            pub(super) static $list: &[&Family] = &[$(&$id),+];
        )+
    };
}

families! {
    NODE_FAMILIES {
        BUILD_INFO: GAUGE "littoral_build_info" ["version", "wasmtime"] "1" "The daemon's version and that of the wasmtime inside; the value is always 1.";

        REQUESTS: COUNTER "littoral_requests_total" ["tenant"] "requests" "Requests admitted to a guest.";
        REQUEST_DURATION: HISTOGRAM "littoral_request_duration_seconds" ["tenant"] "seconds" "From admission to the last response byte.";
        RESPONSES: COUNTER "littoral_responses_total" ["tenant", "status_class"] "responses" "Responses sent, by a guest or in its place.";
        REFUSALS: COUNTER "littoral_refusals_total" ["tenant", "reason"] "refusals" "Answers the host gave in the guest's place; without a tenant where the request belonged to none.";
        REQUEST_BODY_BYTES: COUNTER "littoral_request_body_bytes_total" ["tenant"] "bytes" "Request body bytes taken from clients.";
        RESPONSE_BODY_BYTES: COUNTER "littoral_response_body_bytes_total" ["tenant"] "bytes" "Response body bytes sent to clients.";
        OUTBOUND: COUNTER "littoral_outbound_requests_total" ["tenant", "outcome"] "requests" "Outgoing requests, connections and calls of databases of guests, by how they ended.";
        OUTBOUND_CONNECTIONS: COUNTER "littoral_outbound_connections_total" ["tenant"] "connections" "Connections made for guests; a request on one that was kept makes none.";
        OUTBOUND_BYTES: COUNTER "littoral_outbound_body_bytes_total" ["tenant", "direction"] "bytes" "Body bytes of outgoing requests and of what they were answered, and all bytes of connections.";
        GUEST_CPU: COUNTER "littoral_guest_cpu_seconds_total" ["tenant"] "seconds" "Time spent running guests.";
        GUEST_MEMORY: GAUGE "littoral_guest_memory_bytes" ["tenant"] "bytes" "Linear memory and tables of live instances, as of the worker's last report.";
        CONCURRENT_REQUESTS: GAUGE "littoral_concurrent_requests" ["tenant"] "requests" "Requests under way, as of the worker's last report.";
        WAITING_REQUESTS: GAUGE "littoral_waiting_requests" ["tenant"] "requests" "Requests that wait for a place among those, as of the worker's last report.";
        TENANT_CONNECTIONS: GAUGE "littoral_tenant_connections" ["tenant"] "connections" "Open client connections whose last request was the tenant's, as of the worker's last report.";
        QUARANTINED: GAUGE "littoral_tenant_quarantined" ["tenant"] "1 or 0" "Whether the tenant rests because its guests failed over and over, as of the worker's last report.";
        LOG_BYTES_DROPPED: COUNTER "littoral_log_dropped_bytes_total" ["tenant"] "bytes" "Bytes of guest output that the rate and line limits dropped.";
        LOG_LINES_DROPPED: COUNTER "littoral_log_dropped_lines_total" [] "lines" "Guest lines that reached control for a tenant that is not there.";

        INSTANCES: GAUGE "littoral_instances" [] "instances" "Instances at work on requests, as of the worker's last report.";
        RESTING_INSTANCES: GAUGE "littoral_resting_instances" [] "instances" "Instances that rest between requests, where modules use them again, as of the worker's last report.";
        REUSED: COUNTER "littoral_reused_instances_total" [] "requests" "Requests that were served by an instance which had served before.";
        RESIDENT_MODULES: GAUGE "littoral_resident_modules" [] "modules" "Loaded components, as of the worker's last report.";
        CONNECTIONS: GAUGE "littoral_connections" [] "connections" "Open client connections, as of the worker's last report.";
        RESIDENT_BYTES: GAUGE "littoral_resident_bytes" [] "bytes" "Loaded components, their files and what links them, as of the worker's last report.";
        BUFFER_BYTES: GAUGE "littoral_buffer_bytes" [] "bytes" "What connections and requests are charged with for buffers, as of the worker's last report.";
        MEMORY_AVAILABLE: GAUGE "littoral_memory_available_ratio" [] "1" "Memory available to the node, of what its box or control group has.";
        PRESSURE_STEP: GAUGE "littoral_memory_pressure_step" ["step"] "1 or 0" "Which step the node has taken against a lack of memory: 1 for the one it is at.";
        PRESSURE_STEPS: COUNTER "littoral_memory_pressure_steps_total" ["step"] "steps" "Steps taken against a lack of memory.";
        LOADS: COUNTER "littoral_artifact_loads_total" [] "loads" "Artifacts that a worker loaded.";
        LOAD_DURATION: HISTOGRAM "littoral_artifact_load_duration_seconds" [] "seconds" "Time a worker took to load an artifact.";
        EVICTIONS: COUNTER "littoral_artifact_evictions_total" [] "evictions" "Loaded components that made room for others.";

        WORKER_READY: GAUGE "littoral_worker_ready" [] "1 or 0" "Whether a worker accepts connections.";
        WORKER_RESTARTS: COUNTER "littoral_worker_restarts_total" [] "restarts" "Workers that took the place of one that ended by itself.";
        WORKER_CRASHES: COUNTER "littoral_worker_crashes_total" ["tenant"] "workers" "Workers that a fault or an abort ended in a guest of the tenant; without a tenant where nobody knows in whose, or in none.";
        CONFINED: GAUGE "littoral_worker_barrier" ["barrier"] "1 or 0" "Whether a barrier between guests' code and the box stands in the worker.";
        LAST_REPORT: GAUGE "littoral_worker_last_report_timestamp_seconds" [] "seconds since 1970" "When a worker last reported; absent until one did.";
        ENTRIES_IGNORED: COUNTER "littoral_worker_report_ignored_entries_total" [] "entries" "Parts of worker reports that control has no name for: above zero, worker and control are of two builds or the worker is not itself.";

        ARTIFACTS: COUNTER "littoral_artifact_states_total" ["state"] "events" "What artifacts were found to be, or became.";
        UPLOADS: COUNTER "littoral_uploads_total" ["outcome"] "uploads" "Uploads by how they ended.";
        COMPILE_DURATION: HISTOGRAM "littoral_compile_duration_seconds" ["outcome"] "seconds" "Time a compile child ran, by how it ended.";
        COMPILE_QUEUE: GAUGE "littoral_compile_queue_length" [] "uploads" "Uploads that wait for the compiler.";

        HANDSHAKES: COUNTER "littoral_tls_handshakes_total" ["outcome"] "handshakes" "TLS handshakes by how they ended.";
        HANDSHAKE_DURATION: HISTOGRAM "littoral_tls_handshake_duration_seconds" [] "seconds" "From the start of a connection to the end of its handshake, for those that came to a session.";
        HANDSHAKES_UNDER_WAY: GAUGE "littoral_tls_handshakes_under_way" [] "handshakes" "Handshakes under way, as of the worker's last report.";
        SIGNATURE_DURATION: HISTOGRAM "littoral_tls_signature_duration_seconds" [] "seconds" "Time control took to sign for a handshake.";
        SIGNATURES_REFUSED: COUNTER "littoral_tls_signatures_refused_total" [] "signatures" "Signatures that a worker asked for and control did not make: the key was gone, or the text none of a handshake.";
        CERTIFICATES: GAUGE "littoral_certificates" [] "certificates" "Certificates kept, of all tenants.";
        CERTIFICATE_EXPIRY: GAUGE "littoral_certificate_expiry_seconds" ["tenant"] "seconds" "How long the tenant's certificate that ends first still lasts; below zero once it has ended. Absent without certificates.";

        TENANTS: GAUGE "littoral_tenants" [] "tenants" "Tenants registered.";
        MODULES: GAUGE "littoral_modules" [] "modules" "Modules kept, of all tenants.";
        ROUTES: GAUGE "littoral_routes" [] "routes" "Routes set, of all tenants.";
        PUBLISHER_KEYS: GAUGE "littoral_publisher_keys" [] "keys" "Publisher keys trusted, of all tenants.";

        STORE_HEALTHY: GAUGE "littoral_store_healthy" [] "1 or 0" "Whether the store takes changes.";
        STORE_RECOVERY: GAUGE "littoral_store_recovery_info" ["recovery"] "1" "What opening the store had to mend; the value is always 1.";
        STORE_TRANSACTIONS: COUNTER "littoral_store_transactions_total" [] "transactions" "Transactions made durable.";
        STORE_GROUPS: COUNTER "littoral_store_groups_total" [] "groups" "Groups in which transactions were written, each synced once.";
        STORE_JOURNAL_BYTES: COUNTER "littoral_store_journal_written_bytes_total" [] "bytes" "Bytes appended to the store's journal.";
        STORE_JOURNAL_TIME: COUNTER "littoral_store_journal_write_seconds_total" [] "seconds" "Time spent writing and syncing the store's journal.";
        STORE_LEDGER_TIME: COUNTER "littoral_store_ledger_write_seconds_total" [] "seconds" "Time spent writing and syncing the store's database.";
        STORE_COMPACTIONS: COUNTER "littoral_store_compactions_total" [] "compactions" "Journals that were replaced by a snapshot.";
        STORE_REBUILDS: COUNTER "littoral_store_rebuilds_total" [] "rebuilds" "Times the database file was written anew because it had outgrown its contents.";
        STORE_CONTENTS_BYTES: GAUGE "littoral_store_contents_bytes" [] "bytes" "Size of the control state.";
        STORE_LEDGER_BYTES: GAUGE "littoral_store_ledger_bytes" [] "bytes" "Size of the database file.";
    }
    PROCESS_FAMILIES {
        PROCESS_CPU: COUNTER "littoral_process_cpu_seconds_total" ["process"] "seconds" "User and system CPU time of the process; begins anew with a new worker.";
        PROCESS_MEMORY: GAUGE "littoral_process_resident_memory_bytes" ["process"] "bytes" "Resident memory of the process.";
        PROCESS_FDS: GAUGE "littoral_process_open_fds" ["process"] "descriptors" "Open file descriptors of the process.";
        PROCESS_START: GAUGE "littoral_process_start_time_seconds" ["process"] "seconds since 1970" "When the process started.";
    }
}

/// The families in the library's form.
pub(super) fn descs(families: &[&Family]) -> Vec<Desc> {
    families
        .iter()
        .map(|family| {
            Desc::new(
                family.name.to_owned(),
                family.help.to_owned(),
                family
                    .labels
                    .iter()
                    .map(|&label| label.to_owned())
                    .collect(),
                HashMap::new(),
            )
            .expect("names and labels in the table are valid, which a test shows")
        })
        .collect()
}

/// Samples on their way into the library's form, in the order of the names.
#[derive(Default)]
pub(super) struct Samples(BTreeMap<&'static str, proto::MetricFamily>);

impl Samples {
    /// One sample of a counter or gauge, as the family's type has it.
    pub(super) fn number(&mut self, family: &'static Family, labels: &[&str], value: f64) {
        let mut metric = labelled(family, labels);
        if family.kind == MetricType::COUNTER {
            let mut counter = proto::Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = proto::Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        self.push(family, metric);
    }

    /// The same for a whole number; above 2^53 it is rounded.
    pub(super) fn count(&mut self, family: &'static Family, labels: &[&str], value: u64) {
        self.number(family, labels, value as f64);
    }

    pub(super) fn histogram(
        &mut self,
        family: &'static Family,
        labels: &[&str],
        histogram: &Histogram,
    ) {
        let mut metric = labelled(family, labels);
        metric.set_histogram(histogram.to_proto());
        self.push(family, metric);
    }

    pub(super) fn into_families(self) -> Vec<proto::MetricFamily> {
        self.0.into_values().collect()
    }

    fn push(&mut self, family: &'static Family, metric: proto::Metric) {
        self.0
            .entry(family.name)
            .or_insert_with(|| {
                let mut made = proto::MetricFamily::default();
                made.set_name(family.name.to_owned());
                made.set_help(family.help.to_owned());
                made.set_field_type(family.kind);
                made
            })
            .mut_metric()
            .push(metric);
    }
}

fn labelled(family: &Family, values: &[&str]) -> proto::Metric {
    debug_assert_eq!(family.labels.len(), values.len(), "{}", family.name);
    let pairs = family.labels.iter().zip(values).map(|(name, value)| {
        let mut pair = proto::LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    });
    proto::Metric::from_label(pairs.collect())
}
