//! What control and a worker say to each other.

use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use super::signing::SigningKeyId;
use crate::confine::{InForce, Orders};
use crate::engine::EngineShape;

/// The name of an artifact: SHA-256 over the component's digest, the engine's compatibility hash and wasmtime's
/// version. What a worker asks for, and what the file is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ArtifactName(pub [u8; 32]);

/// Which calling convention a component serves requests by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum World {
    /// `wasi:http/proxy` 0.2: a synchronous export with a response outparam.
    Proxy02,
    /// `wasi:http/service` 0.3: an asynchronous export.
    Service03,
    /// `wasi:cli/command` 0.2: a program that runs once for each request, in the manner of CGI (RFC 3875).
    Command02,
}

impl World {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Proxy02, Self::Service03, Self::Command02];

    /// As shown to people and stored.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Proxy02 => "wasi:http/proxy@0.2",
            Self::Service03 => "wasi:http/service@0.3",
            Self::Command02 => "wasi:cli/command@0.2",
        }
    }
}

/// From control to a worker.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum ToWorker {
    /// First and once; the frame carries the folder of artifacts, the flight record, then the listening sockets, one
    /// thread's worth after another.
    Start(WorkerStart),
    /// Changes to the routing table, to be applied whole and acknowledged.
    Table {
        /// The revision of the control state that the table then is at.
        revision: u64,
        /// Whether what was there before is dropped first.
        full: bool,
        /// In order.
        changes: Vec<TableChange>,
        /// Whether the rest follows in the next message of this kind; applied with the last.
        more: bool,
    },
    /// The answer to [`ToControl::NeedArtifact`]; with a file where it is available.
    Artifact {
        /// What was asked for.
        name: ArtifactName,
        /// Why there is no file.
        refused: Option<String>,
    },
    /// How short of memory the node is.
    Pressure {
        /// Components that nobody asked for in so many seconds are dropped; `None` keeps them.
        drop_idle_s: Option<u32>,
        /// New requests of tenants with a priority class below this are refused.
        shed_below_class: u64,
    },
    /// Answer with a [`ToControl::Report`] now.
    Report,
    /// Accept no more, finish what runs, then end.
    Drain {
        /// Whether nobody accepts on the same sockets hereafter: what waits in their backlogs is then taken first.
        last: bool,
    },
}

/// From a worker to control.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToControl {
    /// Running as this user from here on; who hands it files may have to know.
    Became {
        /// Its number.
        user: u32,
    },
    /// Accepting connections, confined so.
    Ready(InForce),
    /// The table of this revision is served from now on.
    TableApplied {
        /// As in [`ToWorker::Table`].
        revision: u64,
    },
    /// A request waits for this artifact.
    NeedArtifact {
        /// The artifact.
        name: ArtifactName,
    },
    /// The first of the tenants that the next report is about.
    Counts(Vec<TenantCounts>),
    /// What happened since the last report.
    Report(WorkerReport),
    /// Lines that guests wrote.
    Lines(Vec<GuestLine>),
}

/// All that a worker must know before its first request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkerStart {
    /// How instances lie in memory.
    pub shape: EngineShape,
    /// Whether another worker accepts on the same sockets meanwhile: then there is time to load components beforehand.
    pub follows: bool,
    /// Threads that own connections and guests.
    pub threads: u32,
    /// How it is to confine itself before it accepts.
    pub orders: Orders,
    /// What guests' clocks are rounded down to, in microseconds.
    pub guest_clock_resolution_us: u32,
    /// Listening sockets a thread: the frame carries `threads` times as many.
    pub listeners_per_thread: u32,
    /// Most open connections.
    pub connections_max: u32,
    /// A request head must be complete within this time, in milliseconds, counted from the end of the one before.
    pub header_read_timeout_ms: u64,
    /// A request head larger than this is refused, in bytes.
    pub header_bytes_max: u64,
    /// A request head with more fields than this is refused.
    pub header_count_max: u32,
    /// Networks whose `Forwarded` and `X-Forwarded-*` are believed, as `address/prefix`.
    pub trusted_proxies: Vec<String>,
    /// Requests may finish within this time when draining, in milliseconds.
    pub drain_ms_max: u64,
    /// Most components loaded at once.
    pub resident_max: u32,
    /// Memory of all guests together, in bytes.
    pub guest_memory_bytes_max: u64,
    /// Loaded components, in bytes.
    pub code_bytes_max: u64,
    /// Buffers of connections and requests, in bytes.
    pub buffer_bytes_max: u64,
    /// Most open connections of one client address.
    pub client_connections_max: u32,
    /// The least severe level the worker logs at.
    pub log_level: String,
    /// Whether the worker logs JSON.
    pub log_json: bool,
    /// Of each thread's listening sockets, how many at the end are for TLS.
    pub tls_listeners_per_thread: u32,
    /// Sockets for signatures, behind the listening ones: one a thread that computes handshakes.
    pub signing_sockets: u32,
    /// Whether TLS 1.2 is spoken beside 1.3.
    pub tls12: bool,
    /// Most handshakes under way at once.
    pub handshakes_max: u32,
    /// A handshake must be complete within this time, in milliseconds, counted from the start of the connection.
    pub handshake_timeout_ms: u64,
    /// Certificates (DER) of the authorities that guests' TLS believes.
    pub authorities: Vec<Vec<u8>>,
    /// Most streams of one connection of HTTP/2; 0 where it is not spoken.
    pub streams_max: u32,
}

/// One change to the routing table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum TableChange {
    /// A tenant is new or its limits changed; comes before its routes.
    Tenant {
        /// Its name.
        tenant: String,
        /// What holds from now on.
        limits: TenantLimits,
    },
    /// A tenant is not served for a while: the worker died in its guests. Comes after the tenant.
    Quarantined {
        /// Its name.
        tenant: String,
        /// How long from now, in milliseconds.
        ms: u64,
    },
    /// A tenant is gone; its routes went before it.
    TenantGone {
        /// Its name.
        tenant: String,
    },
    /// A route is new or serves something else.
    Route {
        /// Exact hostname or `*.suffix`.
        host: String,
        /// Path prefix.
        path: String,
        /// Whose it is.
        tenant: String,
        /// What answers.
        target: ModuleTarget,
    },
    /// A route is gone.
    RouteGone {
        /// As in `Route`.
        host: String,
        /// As in `Route`.
        path: String,
    },
    /// A certificate is new, or another has its name; comes after its tenant.
    Certificate {
        /// Whose it is.
        tenant: String,
        /// Its name.
        name: String,
        /// What is served.
        target: CertificateTarget,
    },
    /// A certificate is gone.
    CertificateGone {
        /// As in `Certificate`.
        tenant: String,
        /// As in `Certificate`.
        name: String,
    },
}

/// The answer to a worker's need.
#[derive(Debug)]
pub struct Supplied {
    /// The artifact, verified.
    pub artifact: OwnedFd,
    /// The upload that it was made of, where files were deployed with that.
    pub upload: Option<OwnedFd>,
}

/// What a route serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleTarget {
    /// The module's name within its tenant.
    pub module: String,
    /// Its version.
    pub version: u64,
    /// The artifact to run.
    pub artifact: ArtifactName,
    /// How to call it.
    pub world: World,
    /// How its instances are used again; `None` makes a new one for every request.
    pub reuse: Option<Reuse>,
    /// What its guests may do beyond answering; `None` is nothing.
    pub grants: Option<ModuleGrants>,
}

/// What a worker must know of a module's grants. Variables and addresses are control's to give and to refuse.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleGrants {
    /// Key-value stores of the tenant, by name.
    pub key_value: Vec<String>,
    /// SQL databases of the tenant, by name.
    pub databases: Vec<String>,
    /// Where they may connect to (`edge_config::OutboundPattern`).
    pub outbound: Vec<String>,
    /// Addresses that names may lead to though they are not public. Control judges by them; a worker keeps no connection
    /// over their change.
    pub networks: Vec<String>,
    /// Environment variables.
    pub environment: Vec<(String, String)>,
}

/// How the instances of a module serve more than one request each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reuse {
    /// Requests that one instance serves at most, 2 or more; each instance's own number is up to a quarter smaller.
    pub requests_max: u32,
    /// An instance that has waited this long for a request is dropped, in milliseconds.
    pub idle_ms_max: u64,
    /// Requests that one instance serves at once; more than 1 only for components of 0.3.
    pub concurrency_max: u32,
    /// An instance whose memories hold more than this after a request serves no other, in bytes.
    pub memory_bytes_max: u64,
}

/// The limits of one tenant, as far as a worker enforces them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantLimits {
    /// Linear memory of one instance, in bytes.
    pub instance_memory_bytes_max: u64,
    /// Linear memory and tables of all instances, in bytes.
    pub memory_bytes_max: u64,
    /// The part of it that is set aside, in bytes.
    pub memory_guaranteed_bytes: u64,
    /// Whether growth that is refused ends the guest.
    pub memory_refused_traps: bool,
    /// 0 is shed first when the node is short of memory.
    pub priority_class: u64,
    /// Handles of one instance.
    pub instance_handles_max: u64,
    /// Bytes beyond its memory that one instance hands over in a call.
    pub instance_hostcall_bytes_max: u64,
    /// CPU time of one request, in milliseconds.
    pub request_cpu_ms_max: u64,
    /// Weight among tenants that want to run.
    pub cpu_share: u64,
    /// CPU time a second, in milliseconds.
    pub cpu_ms_per_s_max: u64,
    /// CPU time at once, in milliseconds.
    pub cpu_burst_ms_max: u64,
    /// From admission to the last response byte, in milliseconds.
    pub request_deadline_ms_max: u64,
    /// From admission to the response head, in milliseconds.
    pub response_head_ms_max: u64,
    /// Without a byte of either body after that, in milliseconds.
    pub stream_idle_ms_max: u64,
    /// Requests under way at once.
    pub concurrent_requests_max: u64,
    /// Requests that wait for such a place.
    pub waiting_requests_max: u64,
    /// How long each waits, in milliseconds.
    pub waiting_ms_max: u64,
    /// Connections whose last request was the tenant's.
    pub connections_max: u64,
    /// Requests a second, in the long run.
    pub requests_per_s_max: u64,
    /// Requests at once.
    pub requests_burst_max: u64,
    /// Request body bytes a second.
    pub request_bytes_per_s_max: u64,
    /// Response body bytes a second.
    pub response_bytes_per_s_max: u64,
    /// Bytes of a request's target.
    pub url_bytes_max: u64,
    /// Bytes of a request's fields.
    pub request_header_bytes_max: u64,
    /// Bytes of a response's fields.
    pub response_header_bytes_max: u64,
    /// Traps and kills in a row before the tenant rests; 0 is never.
    pub failures_in_a_row_max: u64,
    /// In bytes.
    pub request_body_bytes_max: u64,
    /// In bytes.
    pub response_body_bytes_max: u64,
    /// Calls of key-value stores a second, in the long run, and at once.
    pub key_value_calls_per_s_max: u64,
    /// Outgoing requests and connections of one request.
    pub outbound_per_request_max: u64,
    /// Of all its guests at once.
    pub outbound_at_once_max: u64,
    /// To connect, in milliseconds.
    pub outbound_connect_ms_max: u64,
    /// From the start of one to its end, in milliseconds.
    pub outbound_ms_max: u64,
    /// Body bytes of an outgoing request.
    pub outbound_sent_bytes_max: u64,
    /// Body bytes of what it is answered.
    pub outbound_received_bytes_max: u64,
    /// Log bytes a second, in the long run.
    pub log_bytes_per_s_max: u64,
    /// Log bytes at once.
    pub log_burst_bytes_max: u64,
    /// Bytes of one log line; the rest is cut.
    pub log_line_bytes_max: u64,
    /// Whether the tenant's routes answer 503.
    pub suspended: bool,
}

/// What a worker needs of a certificate: all but its private key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateTarget {
    /// Exact hostnames, or `*.suffix` for one label more.
    pub names: Vec<String>,
    /// In DER, the certificate itself first.
    pub chain: Vec<Vec<u8>>,
    /// Whom to ask for signatures.
    pub key: SigningKeyId,
    /// The schemes by which that key signs, best first: their numbers in TLS.
    pub schemes: Vec<u16>,
    /// In seconds since 1970: of two for one name, the one that lasts longer is served.
    pub not_after_s: u64,
}

/// Handshakes that ended since the last report, and those that never began.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandshakeCounts {
    /// `(outcome, count)`.
    pub outcomes: Vec<(String, u64)>,
    /// How long those took that came to a session, in microseconds: a count per bucket of the histogram, the last one
    /// above all bounds.
    pub duration_buckets: Vec<u64>,
    /// Sum of those durations, in microseconds.
    pub duration_sum_us: u64,
    /// Under way now.
    pub under_way: u64,
}

/// What happened in a worker since its last report.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct WorkerReport {
    /// Per tenant with any change.
    pub tenants: Vec<TenantCounts>,
    /// Refusals of requests that matched no tenant: `(reason, count)`.
    pub unrouted: Vec<(String, u64)>,
    /// Live instances now.
    pub instances: u64,
    /// Instances that rest between requests now.
    pub resting_instances: u64,
    /// Requests since the last report that an instance served which had served before.
    pub reused: u64,
    /// Loaded components now.
    pub resident_modules: u64,
    /// Open connections now.
    pub connections: u64,
    /// Loads of artifacts since the last report.
    pub loads: u64,
    /// Evictions since the last report.
    pub evictions: u64,
    /// What the loaded components take, in bytes.
    pub resident_bytes: u64,
    /// What connections and requests are charged with for buffers, in bytes.
    pub buffer_bytes: u64,
    /// Seconds that loads took, one entry a load, in microseconds.
    pub load_us: Vec<u64>,
    /// TLS handshakes.
    pub handshakes: HandshakeCounts,
}

/// One tenant's part of a report: counters since the last one, gauges as they are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantCounts {
    /// The tenant.
    pub tenant: String,
    /// Requests admitted.
    pub requests: u64,
    /// `(reason, count)`.
    pub refusals: Vec<(String, u64)>,
    /// Body bytes in.
    pub request_body_bytes: u64,
    /// Body bytes out.
    pub response_body_bytes: u64,
    /// Time guests ran, in microseconds.
    pub cpu_us: u64,
    /// Requests under way now.
    pub concurrent_requests: u64,
    /// Requests that wait for a place now.
    pub waiting_requests: u64,
    /// Connections whose last request was the tenant's, now.
    pub connections: u64,
    /// Linear memory and tables live now, in bytes.
    pub memory_bytes: u64,
    /// How long the tenant still rests after failures, in milliseconds; 0 if it is served.
    pub quarantine_left_ms: u64,
    /// Log bytes dropped.
    pub log_bytes_dropped: u64,
    /// Outgoing requests and connections by outcome: `(outcome, count)`.
    pub outbound: Vec<(String, u64)>,
    /// Connections made for them.
    pub outbound_connections: u64,
    /// Body bytes sent and received by them.
    pub outbound_bytes: [u64; 2],
    /// Request durations: a count per bucket of the duration histogram, the last one above all bounds.
    pub duration_buckets: Vec<u64>,
    /// Sum of those durations, in microseconds.
    pub duration_sum_us: u64,
    /// Responses by status class: 1xx to 5xx.
    pub status_classes: [u64; 5],
}

/// One line of a guest's output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestLine {
    /// Whose guest.
    pub tenant: String,
    /// Which module.
    pub module: String,
    /// While serving which request.
    pub request_id: String,
    /// 0: stdout, 1: stderr, 2: the node's own word on the guest.
    pub stream: u8,
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// Without its end; cut to the tenant's line limit.
    pub text: String,
}
