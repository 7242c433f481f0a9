//! Every section and key, declared once: docs, types, defaults, ranges.
//!
//! The macro makes of each section what is written ([`RawNode`]) and what it comes to ([`Node`]),
//! and of each key a row that messages, docs and the printed configuration are made from. The
//! section `[limits]` has the rows of the table of limits instead.

use std::{net::SocketAddr, path::PathBuf};

use serde::Serialize;

use super::{
    admin_client::AdminClient,
    error::ConfigError,
    ip_net::IpNet,
    setting::{Fallback, Input, KeyRow, Setting, Written, Wrong, resolve},
    words::{Issuer, KeysUrl, LogFormat, LogLevel, SocketPath, Strictness, TlsVersion, WithoutTls},
};
use crate::{
    limits::{LimitOverrides, Limits},
    names::NodeName,
};

/// A section as it is declared.
pub(super) struct SectionRow {
    pub(super) name: &'static str,
    pub(super) doc: &'static str,
    pub(super) keys: &'static [KeyRow],
}

macro_rules! sections {
    ($(
        $(#[doc = $section_doc:literal])+
        $section:ident: $Resolved:ident, $Raw:ident {$(
            $(#[doc = $doc:literal])+
            $key:ident: $Value:ty = $kind:ident $(($default:expr))? $(, $min:literal..=$max:literal)?;
        )*}
    )*) => {
        $(
            $(#[doc = $section_doc])+
            #[doc = concat!("\n\nWhat was written in `[", stringify!($section), "]`, unchecked.")]
            #[derive(Debug, Clone, Default, PartialEq, Eq)]
            pub struct $Raw {
                $($(#[doc = $doc])+ pub $key: Option<<$Value as Setting>::Written>,)*
            }

            $(#[doc = $section_doc])+
            #[doc = concat!("\n\nWhat `[", stringify!($section), "]` comes to.")]
            #[derive(Debug, Clone, PartialEq, Eq, Serialize)]
            pub struct $Resolved {
                $($(#[doc = $doc])+ pub $key: $Value,)*
            }

            impl $Raw {
                const ROW: SectionRow = SectionRow {
                    name: stringify!($section),
                    doc: concat!($($section_doc),+).trim_ascii(),
                    keys: &[$(KeyRow::new::<$Value>(
                        stringify!($section),
                        stringify!($key),
                        concat!($($doc),+).trim_ascii(),
                        Fallback::$kind $(($default))?,
                        sections!(@range $($min, $max)?),
                    ),)*],
                };

                /// Sets one key; `None` if there is no such key.
                fn put(&mut self, key: &str, input: Input<'_>) -> Option<Result<(), Wrong>> {
                    match key {
                        $(stringify!($key) => {
                            Some(Written::read(input).map(|written| self.$key = Some(written)))
                        })*
                        _ => None,
                    }
                }

                fn resolve(&self, errors: &mut Vec<ConfigError>) -> $Resolved {
                    // The rows stand in the order of the fields, which are read in that order.
                    let mut rows = Self::ROW.keys.iter();
                    let mut row = || rows.next().expect("the macro makes a row for every field");
                    $Resolved {
                        $($key: resolve(self.$key.as_ref(), row(), errors),)*
                    }
                }
            }

            impl $Resolved {
                /// Each value as it would be written, in the order of the rows.
                fn to_toml(&self) -> Vec<Option<toml::Value>> {
                    vec![$(self.$key.to_toml(),)*]
                }
            }
        )*

        /// A configuration as it was written: nothing checked, nothing filled in.
        ///
        /// A key that is `None` was not written. [`Config::resolve`] makes the rest of it.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct RawConfig {
            $($(#[doc = $section_doc])+ pub $section: $Raw,)*
            /// What every tenant may use unless its own limits say otherwise.
            pub limits: LimitOverrides,
        }

        /// The whole configuration, checked and complete.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize)]
        pub struct Config {
            $($(#[doc = $section_doc])+ pub $section: $Resolved,)*
            /// What every tenant may use unless its own limits say otherwise.
            pub limits: Limits,
        }

        /// The sections, without `[limits]`, in the order of the docs.
        pub(super) static SECTIONS: &[SectionRow] = &[$($Raw::ROW,)*];

        impl RawConfig {
            /// Sets one key outside `[limits]`; `None` if there is no such section or key.
            pub(super) fn put(
                &mut self,
                section: &str,
                key: &str,
                input: Input<'_>,
            ) -> Option<Result<(), Wrong>> {
                match section {
                    $(stringify!($section) => self.$section.put(key, input),)*
                    _ => None,
                }
            }

            /// The checked sections, with the limits as they are given.
            pub(super) fn resolve(&self, limits: Limits, errors: &mut Vec<ConfigError>) -> Config {
                Config {
                    $($section: self.$section.resolve(errors),)*
                    limits,
                }
            }
        }

        impl Config {
            /// The values of each section, in the order of [`SECTIONS`].
            pub(super) fn sections_to_toml(&self) -> Vec<Vec<Option<toml::Value>>> {
                vec![$(self.$section.to_toml(),)*]
            }
        }
    };
    (@range) => { (0, 0) };
    (@range $min:literal, $max:literal) => { ($min, $max) };
}

sections! {
    /// Who this node is and where it keeps what lasts.
    node: Node, RawNode {
        /// Its name, and the audience (`aud`) that a token for it must have.
        name: NodeName = Text("littoral");
        /// The directory of its store, components, artifacts and keys.
        data_dir: PathBuf = Text("/var/lib/littoral");
    }

    /// The REST API for operators and publishers.
    admin: Admin, RawAdmin {
        /// Where it listens. Beyond loopback only over TLS, unless `without_tls` says otherwise.
        listen: SocketAddr = Text("127.0.0.1:7400");
        /// A Unix socket on which it listens as well.
        unix_socket: Option<SocketPath> = Unset;
        /// A PEM file with the certificate chain that `listen` is served with over TLS. It and `tls_key_file` are read again
        /// every 30 s.
        tls_chain_file: Option<PathBuf> = Unset;
        /// A PEM file with the private key of that chain, without a passphrase.
        tls_key_file: Option<PathBuf> = Unset;
        /// A PEM file with the authorities whose client certificates are believed, where a request comes without a token.
        client_authorities_file: Option<PathBuf> = Unset;
        /// Which of those clients may what. Others are as good as none.
        clients: Vec<AdminClient> = List(&[]), 0..=64;
        /// From where tokens are taken in clear text: from this machine alone, or, at the operator's own risk, from
        /// everywhere.
        without_tls: WithoutTls = Text("loopback");
        /// The largest JSON body of a request.
        body_json_kib_max: u32 = Int(256), 1..=16_384;
    }

    /// Whose tokens are believed.
    auth: Auth, RawAuth {
        /// Files with the public keys (JWKS, RFC 7517) of those who sign tokens.
        jwks_files: Vec<PathBuf> = List(&[]), 0..=16;
        /// Where more such keys are fetched from; not over plain `http`, where whoever stands between could change them.
        jwks_url: Option<KeysUrl> = Unset;
        /// How often they are fetched again, and files read again.
        jwks_refresh_s: u32 = Int(300), 10..=86_400;
        /// Who may have issued a token (`iss`).
        issuers: Vec<Issuer> = List(&["littoral"]), 1..=16;
        /// The longest time from a token's issue to its expiry.
        token_lifetime_s_max: u32 = Int(2_592_000), 60..=31_536_000;
        /// How far the clocks of issuer and node may be apart.
        clock_skew_s: u32 = Int(30), 0..=300;
    }

    /// Where guests are served from.
    http: Http, RawHttp {
        /// Where it listens.
        listen: Vec<SocketAddr> = List(&["0.0.0.0:8080"]), 1..=16;
        /// Threads that serve; 0 is one a core. Each has a socket of its own for every address: at most 128 together.
        threads: u32 = Int(0), 0..=256;
        /// Open connections at once.
        connections_max: u32 = Int(10_000), 1..=1_000_000;
        /// Open connections of one client, an IPv4 address or an IPv6 /64; trusted proxies are not counted.
        client_connections_max: u32 = Int(1_000), 1..=1_000_000;
        /// The longest time from the start of a connection, or the end of a request on it, until the header of the
        /// next request is whole: bounds slow headers and idle connections alike.
        header_read_timeout_ms: u32 = Int(30_000), 100..=3_600_000;
        /// The largest header of a request, all fields together.
        header_kib_max: u32 = Int(64), 8..=1_024;
        /// The most header fields of a request.
        header_count_max: u32 = Int(100), 10..=1_000;
        /// Requests at once on one connection of HTTP/2, which is spoken over TLS with those who offer it and in clear text
        /// with those who begin with it; 0 is HTTP/1.1 alone.
        streams_max: u32 = Int(100), 0..=1_000;
        /// Whose `Forwarded` and `X-Forwarded-*` fields are believed.
        trusted_proxies: Vec<IpNet> = List(&[]), 0..=256;
        /// The longest time that requests in flight get to finish when the node stops.
        drain_ms_max: u32 = Int(30_000), 0..=3_600_000;
    }

    /// Where guests are served from over TLS, with the certificates that tenants have (`littoral certificate`). Everything
    /// in `[http]` but `listen` holds for these connections too.
    https: Https, RawHttps {
        /// Where it listens; nowhere by default. Each address takes a socket a thread, as those of `http.listen` do: at
        /// most 128 together.
        listen: Vec<SocketAddr> = List(&[]), 0..=16;
        /// The oldest version of TLS that clients may speak.
        tls_min: TlsVersion = Text("1.2");
        /// Handshakes under way at once, a quarter of them of one client; a connection beyond them is closed.
        handshakes_max: u32 = Int(1_000), 1..=100_000;
        /// The longest time from the start of a connection to the end of its handshake.
        handshake_timeout_ms: u32 = Int(10_000), 100..=60_000;
        /// Threads that compute handshakes, and as many that sign for them: so many signatures are under way at once. 0
        /// is two a thread of `http.threads`.
        handshake_threads: u32 = Int(0), 0..=32;
    }

    /// Receiving components.
    uploads: Uploads, RawUploads {
        /// Uploads at once; one tenant has at most half of them.
        concurrent_max: u32 = Int(4), 1..=256;
        /// The longest time one may take to arrive.
        duration_ms_max: u32 = Int(120_000), 1_000..=3_600_000;
        /// The longest time from a statement's issue to its expiry.
        statement_lifetime_s_max: u32 = Int(86_400), 60..=31_536_000;
        /// Jobs that are remembered, under way or done, to be asked about.
        jobs_kept_max: u32 = Int(256), 1..=65_536;
    }

    /// Compiling components to native code, one at a time, in a process of its own.
    compile: Compile, RawCompile {
        /// The most memory that the process may have.
        memory_mib_max: u32 = Int(1_024), 64..=65_536;
        /// The most CPU time that one component may take.
        cpu_ms_max: u32 = Int(60_000), 100..=3_600_000;
        /// The longest time that one component may take.
        wall_ms_max: u32 = Int(120_000), 100..=3_600_000;
        /// The largest artifact.
        artifact_mib_max: u32 = Int(128), 1..=4_096;
        /// Components that wait for their turn.
        queue_max: u32 = Int(16), 1..=1_024;
    }

    /// The process that runs guests.
    worker: Worker, RawWorker {
        /// The wait before it is started again after its first death.
        restart_backoff_ms_min: u32 = Int(10), 1..=60_000;
        /// The longest such wait, when it dies over and over.
        restart_backoff_ms_max: u32 = Int(10_000), 1..=600_000;
        /// Live instances on the node, of all tenants together; 0 is as many as the box is good for by its memory,
        /// cores, memory maps and addresses: `littorald doctor` says how many that is and why.
        instances_max: u32 = Int(0), 0..=100_000;
        /// How this process and the one that compiles are confined once they are ready. `"enforce"`: by a filter of
        /// system calls, whose breach ends the process, and by landlock, as far as the kernel has them. `"log"`: the
        /// kernel logs a breach and lets it through, to find out what an unusual box needs. `"off"`: by neither.
        confinement: Strictness = Text("enforce");
        /// The user, and group, that both become where the node is started as root, or as another user with
        /// `CAP_SETUID` and `CAP_SETGID`: a number that nobody else has, it needs no name. 0: they stay who they are,
        /// without capabilities.
        user_id: u32 = Int(65_530), 0..=4_294_967_293;
        /// What guests' clocks are rounded down to, so that they time less of what happens beside them; 1 leaves them
        /// as they are.
        guest_clock_resolution_us: u32 = Int(1_000), 1..=1_000_000;
    }

    /// Where guests connect to, as far as their modules' grants let them.
    outbound: Outbound, RawOutbound {
        /// Files with certificates (PEM) of authorities that are believed beside the system's, when guests speak TLS.
        ca_files: Vec<PathBuf> = List(&[]), 0..=16;
        /// Networks that no grant leads to, whatever it names.
        refused_networks: Vec<IpNet> = List(&[]), 0..=256;
    }

    /// Memory of the node, in budgets.
    memory: Memory, RawMemory {
        /// Linear memories and tables of all guests together; 0 is half of what the box has, or the control group that the
        /// node runs in.
        guests_mib_max: u32 = Int(0), 0..=16_777_216;
        /// What ended instances leave in memory, so that the next are made without page faults; 0 is 10 % of it.
        kept_mib_max: u32 = Int(0), 0..=16_777_216;
        /// Loaded components; 0 is 15 % of it.
        code_mib_max: u32 = Int(0), 0..=16_777_216;
        /// Buffers of connections and of requests under way; 0 is 10 % of it.
        buffers_mib_max: u32 = Int(0), 0..=16_777_216;
        /// Where less than this is available, in percent, components that were not used for 10 s are dropped with the
        /// memory that stood ready for their instances; 0 is never.
        shrink_below_percent: u32 = Int(15), 0..=100;
        /// Where less than this is available, components that were not used for 1 s are dropped too; 0 is never.
        evict_below_percent: u32 = Int(10), 0..=100;
        /// Where less than this is available, new requests of the lowest priority class are refused as well, and after
        /// each second of it those of the next; 0 is never.
        shed_below_percent: u32 = Int(5), 0..=100;
    }

    /// What lasts.
    store: Store, RawStore {
        /// Memory in which the store keeps what it has read.
        cache_mib: u32 = Int(8), 1..=64;
        /// Changes that the audit log remembers, newest first; fewer where they come to more than 16 MiB.
        audit_entries_max: u32 = Int(4_096), 16..=1_000_000;
    }

    /// The daemon's own log, on standard error.
    log: Log, RawLog {
        /// How lines are written.
        format: LogFormat = Text("text");
        /// The least severe lines written.
        level: LogLevel = Text("info");
    }

    /// What Prometheus scrapes.
    metrics: Metrics, RawMetrics {
        /// Tenants with a label of their own; those above are counted under one.
        tenants_max: u32 = Int(1_000), 0..=100_000;
        /// A file with a token that whoever scrapes must send (`Authorization: Bearer`); without one, everybody who
        /// reaches the admin API may.
        token_file: Option<PathBuf> = Unset;
    }
}
