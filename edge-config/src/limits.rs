//! What one tenant may use: one table, from which everything about limits follows.
//!
//! Takes the node-wide defaults and a tenant's overrides. Promises [`Limits`] whose every value is
//! in its row's range, or an error naming key, value and range. Enforces nothing: the rooms that
//! do read their value from here.
//!
//! A new limit is one new row where `limits!` is called.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use utoipa::openapi::{
    RefOr,
    schema::{AdditionalProperties, ObjectBuilder, Schema, SchemaType, Type},
};

const BYTES_A_KIB: u64 = 1024;

/// One limit, as the documentation and the API describe it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitRow {
    /// Its key in `[limits]` and in the API. The unit is part of it.
    pub name: &'static str,
    /// What one of it is: "MiB", "ms", "requests".
    pub unit: &'static str,
    /// The smallest value allowed.
    pub min: u64,
    /// The largest value allowed.
    pub max: u64,
    /// The value where neither node nor tenant say otherwise.
    pub default: u64,
    /// What is limited.
    pub doc: &'static str,
    /// What happens to whatever goes beyond it.
    pub refusal: &'static str,
}

impl LimitRow {
    fn check(&'static self, value: u64) -> Result<u64, LimitError> {
        if (self.min..=self.max).contains(&value) {
            Ok(value)
        } else {
            Err(LimitError::OutOfRange { row: self, value })
        }
    }
}

/// Why limits do not hold together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// One value outside its range.
    #[error(
        "{} = {value} is out of range; allowed: {} to {} ({})",
        row.name, row.min, row.max, row.unit
    )]
    OutOfRange {
        /// The limit.
        row: &'static LimitRow,
        /// What was asked for.
        value: u64,
    },
    /// Two values that exclude each other.
    #[error(
        "{low} = {low_value} does not fit into {high} = {high_value}; \
         allowed: {low} at most {high}"
    )]
    Conflict {
        /// The limit that must not be the larger one.
        low: &'static str,
        /// Its value, in the unit of its name.
        low_value: u64,
        /// The limit that must not be the smaller one.
        high: &'static str,
        /// Its value, in the unit of its name.
        high_value: u64,
    },
}

impl LimitError {
    /// The key to change: for two values that exclude each other, the one that should be smaller.
    pub fn key(&self) -> &'static str {
        match self {
            Self::OutOfRange { row, .. } => row.name,
            Self::Conflict { low, .. } => low,
        }
    }
}

macro_rules! limits {
    ($(
        #[doc = $doc:literal]
        $name:ident: $default:literal, $min:literal..=$max:literal $unit:literal, $refusal:literal;
    )*) => {
        /// Every limit of one tenant, each in its range.
        ///
        /// [`Limits::default`] are the defaults of [`LIMIT_TABLE`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(try_from = "LimitsAsRead")]
        #[non_exhaustive]
        pub struct Limits {
            $(#[doc = $doc] pub $name: u64,)*
        }

        /// Limits from another process, before they are checked.
        #[derive(Deserialize)]
        struct LimitsAsRead {
            $($name: u64,)*
        }

        impl TryFrom<LimitsAsRead> for Limits {
            type Error = LimitError;

            fn try_from(read: LimitsAsRead) -> Result<Self, LimitError> {
                Self { $($name: read.$name,)* }.checked()
            }
        }

        /// The limits that were set for one tenant; the node's defaults hold for the others.
        ///
        /// Values are as written: [`Limits::with`] checks them. Limits that are not set are left
        /// out when this is written, so formats that do not name their fields cannot carry it.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct LimitOverrides {
            $(
                #[doc = $doc]
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub $name: Option<u64>,
            )*
        }

        /// Every limit with its unit, range, default and refusal, in the order of the docs.
        pub static LIMIT_TABLE: &[LimitRow] = &[$(
            LimitRow {
                name: stringify!($name),
                unit: $unit,
                min: $min,
                max: $max,
                default: $default,
                // The space after `///` is part of the attribute.
                doc: $doc.trim_ascii(),
                refusal: $refusal,
            },
        )*];

        impl Default for Limits {
            fn default() -> Self {
                Self { $($name: $default,)* }
            }
        }

        impl Limits {
            /// The values in the order of [`LIMIT_TABLE`].
            fn values(&self) -> impl Iterator<Item = u64> {
                [$(self.$name,)*].into_iter()
            }

            fn value_mut(&mut self, name: &str) -> Option<&mut u64> {
                match name {
                    $(stringify!($name) => Some(&mut self.$name),)*
                    _ => None,
                }
            }
        }

        impl LimitOverrides {
            /// The values in the order of [`LIMIT_TABLE`].
            fn values(&self) -> impl Iterator<Item = Option<u64>> {
                [$(self.$name,)*].into_iter()
            }

            fn value_mut(&mut self, name: &str) -> Option<&mut Option<u64>> {
                match name {
                    $(stringify!($name) => Some(&mut self.$name),)*
                    _ => None,
                }
            }
        }
    };
}

limits! {
    /// Linear memory of one instance.
    instance_memory_mib_max: 64, 1..=4_096 "MiB",
        "`memory.grow` answers -1; a module that declares more is refused";
    /// Linear memory and tables of all live instances together.
    memory_mib_max: 256, 1..=1_048_576 "MiB",
        "`memory.grow` answers -1; a new instance is refused: 503, `memory`";
    /// The part of that which nobody else can take.
    memory_guaranteed_mib: 0, 0..=1_048_576 "MiB",
        "the setting is refused where all tenants' together exceed the node's memory for guests";
    /// Whether growth that a memory limit refuses ends the guest instead of answering -1.
    memory_refused_traps: 0, 0..=1 "0 or 1",
        "with 1 the guest is ended: 502, `memory`";
    /// The class that is kept longest when the node runs short of memory: 0 goes first.
    priority_class: 1, 0..=3 "class",
        "new requests of the lowest class are refused: 503, `pressure`";
    /// Handles that the host holds for one instance: requests, bodies, streams, fields, pollables.
    instance_handles_max: 4_096, 64..=1_000_000 "handles",
        "the guest traps: 502, `trap`";
    /// What one instance may hand over in one call beyond its own memory: lists and strings on their way.
    instance_hostcall_kib_max: 4_096, 64..=131_072 "KiB",
        "the guest traps: 502, `trap`";
    /// CPU time of one request's guest; waiting does not count.
    request_cpu_ms_max: 1_000, 1..=3_600_000 "ms",
        "the guest is ended: 502, `cpu`";
    /// Weight of the tenant among those that want to run at the same time.
    cpu_share: 100, 1..=10_000 "shares",
        "its guests wait while tenants that are behind their share run";
    /// CPU time of all its guests; 1000 is one core.
    cpu_ms_per_s_max: 100_000, 1..=1_000_000 "ms/s",
        "its guests wait";
    /// CPU time of all its guests at once, before the average counts.
    cpu_burst_ms_max: 1_000, 1..=3_600_000 "ms",
        "its guests wait";
    /// Time from a request's admission to the last byte of its response.
    request_deadline_ms_max: 10_000, 1..=3_600_000 "ms",
        "the guest is ended: 504, `deadline`";
    /// Time from a request's admission to the head of its response.
    response_head_ms_max: 10_000, 1..=3_600_000 "ms",
        "the guest is ended: 504, `deadline`";
    /// Time in which nothing moves of either body, once the response has begun.
    stream_idle_ms_max: 10_000, 1..=3_600_000 "ms",
        "the response is cut off: `idle`";
    /// Requests in the tenant's guests at the same time, each until its last response byte.
    concurrent_requests_max: 16, 1..=100_000 "requests",
        "the request waits in the queue";
    /// Requests that wait for one of those places, first come first served.
    waiting_requests_max: 64, 0..=100_000 "requests",
        "the request is refused: 503, `concurrency`";
    /// How long a request waits there.
    waiting_ms_max: 1_000, 1..=600_000 "ms",
        "the request is refused: 503, `concurrency`";
    /// Connections whose last request was for the tenant.
    connections_max: 1_024, 1..=1_000_000 "connections",
        "the request is refused and its connection closed: 503, `connections`";
    /// Requests, on average.
    requests_per_s_max: 100_000, 1..=1_000_000 "requests/s",
        "the request is refused: 429, `rate`, with `Retry-After` and `RateLimit`";
    /// Requests at once, before the average counts.
    requests_burst_max: 100_000, 1..=1_000_000 "requests",
        "the request is refused: 429, `rate`, with `Retry-After` and `RateLimit`";
    /// Request bodies, on average; as much again at once.
    request_kib_per_s_max: 1_048_576, 1..=104_857_600 "KiB/s",
        "they are read more slowly";
    /// Response bodies, on average; as much again at once.
    response_kib_per_s_max: 1_048_576, 1..=104_857_600 "KiB/s",
        "they are sent more slowly";
    /// The target of one request.
    url_bytes_max: 8_192, 64..=65_536 "bytes",
        "the request is refused: 414, `url`";
    /// The fields of one request's header.
    request_header_kib_max: 64, 1..=1_024 "KiB",
        "the request is refused: 431, `header`";
    /// The fields of one response's header.
    response_header_kib_max: 64, 1..=1_024 "KiB",
        "the response is not sent: 502, `response-header`";
    /// Requests in a row that end in a trap or a kill.
    failures_in_a_row_max: 100, 0..=1_000_000 "requests",
        "the tenant rests for 1 s, doubled up to 60 s at each relapse: 503, `quarantined`; 0 is never";
    /// Body of one request.
    request_body_kib_max: 1_024, 0..=4_194_304 "KiB",
        "the request is refused, or its body cut off if no length was declared: 413, `body`";
    /// Body of one response.
    response_body_kib_max: 10_240, 0..=4_194_304 "KiB",
        "the response is cut off: `body`";
    /// Modules.
    modules_max: 32, 0..=10_000 "modules",
        "the upload that would make one more is refused";
    /// Versions kept of each module, to go back to.
    kept_versions_max: 3, 1..=100 "versions",
        "the oldest that no route names are dropped";
    /// Routes.
    routes_max: 64, 0..=10_000 "routes",
        "the route that would be one more is refused";
    /// Public keys of publishers.
    publisher_keys_max: 16, 0..=1_000 "keys",
        "the key that would be one more is refused";
    /// Certificates, each with its private key.
    certificates_max: 16, 0..=1_000 "certificates",
        "the certificate that would be one more is refused";
    /// Variables, those of its modules included.
    variables_max: 64, 0..=256 "variables",
        "the variable that would be one more is refused";
    /// Bytes of one uploaded component.
    component_kib_max: 16_384, 1..=262_144 "KiB",
        "the upload is refused: 413";
    /// Bytes of the native code that one component compiles to.
    artifact_kib_max: 131_072, 64..=4_194_304 "KiB",
        "the upload is refused";
    /// Keys in all of its key-value stores together.
    key_value_keys_max: 10_000, 0..=10_000_000 "keys",
        "the guest's call answers an error that says so";
    /// Keys and values in all of its key-value stores together.
    key_value_kib_max: 16_384, 0..=16_777_216 "KiB",
        "the guest's call answers an error that says so";
    /// One value in a key-value store.
    key_value_value_kib_max: 1_024, 1..=4_096 "KiB",
        "the guest's call answers an error that says so";
    /// Calls of key-value stores, for variables and of SQL databases, on average; as many again at once.
    key_value_calls_per_s_max: 50_000, 0..=10_000_000 "calls/s",
        "the guest's call answers an error that says so";
    /// SQL databases.
    databases_max: 4, 0..=256 "databases",
        "the guest's call answers `io` with a text that says so";
    /// One SQL database; the log that SQLite writes ahead is beside it and may be as large again.
    database_kib_max: 16_384, 64..=16_777_216 "KiB",
        "the guest's call answers `database-full`";
    /// Connections to its SQL databases at once, of all its guests.
    database_connections_max: 32, 0..=256 "connections",
        "the guest's call answers `io` with a text that says so";
    /// Memory that SQLite has for all of its databases together; of at most 16 tenants at once.
    database_memory_kib_max: 16_384, 4_096..=1_048_576 "KiB",
        "the guest's call answers `io` with a text that says so";
    /// Time of one SQL statement, waiting for locks included.
    database_statement_ms_max: 5_000, 1..=600_000 "ms",
        "the guest's call answers `io` with a text that says so";
    /// Time from the beginning of an SQL transaction to its end.
    database_transaction_ms_max: 5_000, 1..=600_000 "ms",
        "it is rolled back, and the guest's next call answers `io` with a text that says so";
    /// What one SQL statement gives: names and values, and 24 bytes for each row and each value.
    database_result_kib_max: 1_024, 1..=8_192 "KiB",
        "the guest's call answers `io` with a text that says so";
    /// Outgoing requests and connections of one request's guest.
    outbound_per_request_max: 100, 0..=1_000_000 "requests",
        "the guest's call answers `HTTP-request-denied`";
    /// Outgoing requests and connections of all its guests at the same time, each until its end.
    outbound_at_once_max: 64, 0..=10_000 "requests",
        "the guest's call answers `connection-limit-reached`";
    /// Time to find a name's addresses and to connect to one of them.
    outbound_connect_ms_max: 5_000, 1..=600_000 "ms",
        "the guest's call answers `connection-timeout`";
    /// Time from the start of an outgoing request, or of a call of a database, to the last byte of what it is answered.
    outbound_ms_max: 30_000, 1..=3_600_000 "ms",
        "the guest's call answers `HTTP-response-timeout`; a body that has begun breaks off";
    /// Body of one outgoing request; what one call of a database sends.
    outbound_sent_kib_max: 10_240, 0..=4_194_304 "KiB",
        "the guest's call answers `HTTP-request-body-size`";
    /// Body of what one outgoing request is answered; all of what one call of a database is.
    outbound_received_kib_max: 10_240, 0..=4_194_304 "KiB",
        "it breaks off, with `HTTP-response-body-size` where the interface tells";
    /// Guest log output, on average.
    log_bytes_per_s_max: 16_384, 0..=16_777_216 "bytes/s",
        "lines beyond it are dropped and counted";
    /// Guest log output at once, before the average counts.
    log_burst_bytes_max: 65_536, 64..=16_777_216 "bytes",
        "lines beyond it are dropped and counted";
    /// One line of guest log.
    log_line_bytes_max: 4_096, 64..=65_536 "bytes",
        "the rest of the line is cut off";
    /// Guest log kept in memory, newest lines.
    log_ring_kib_max: 64, 1..=16_384 "KiB",
        "the oldest lines are dropped";
}

impl Limits {
    /// These limits with a tenant's overrides in place of its values.
    ///
    /// # Errors
    /// The first [`LimitError`]: a value out of its range, or two that exclude each other. The
    /// second can come from a change of the node's defaults, long after the override was accepted.
    pub fn with(&self, overrides: &LimitOverrides) -> Result<Self, LimitError> {
        let (limits, errors) = self.with_all(overrides);
        match errors.into_iter().next() {
            None => Ok(limits),
            Some(error) => Err(error),
        }
    }

    /// These limits with those of a tenant's overrides that still fit, and why each of the others does not: its row,
    /// and what stands against it. Where all fit, the same as [`Limits::with`].
    ///
    /// Overrides are taken one by one, in whichever order lets most of them in: one may make room for another.
    pub fn with_fitting(
        &self,
        overrides: &LimitOverrides,
    ) -> (Self, Vec<(&'static LimitRow, LimitError)>) {
        let mut limits = *self;
        let mut left: Vec<_> = overrides.rows().collect();
        // Each round but the last lets in one at least: no more rounds than overrides.
        loop {
            let mut refused = Vec::new();
            for &(row, value) in &left {
                let mut tried = limits;
                if let Some(field) = tried.value_mut(row.name) {
                    *field = value;
                }
                match tried.checked() {
                    Ok(tried) => limits = tried,
                    Err(error) => refused.push((row, value, error)),
                }
            }
            if refused.len() == left.len() {
                let refused = refused.into_iter().map(|(row, _, error)| (row, error));
                return (limits, refused.collect());
            }
            left = refused
                .iter()
                .map(|&(row, value, _)| (row, value))
                .collect();
        }
    }

    /// Each limit's row and value, in the order of [`LIMIT_TABLE`].
    pub fn rows(&self) -> impl Iterator<Item = (&'static LimitRow, u64)> {
        LIMIT_TABLE.iter().zip(self.values())
    }

    /// What holds with every override that can, and every reason against the others.
    pub(crate) fn with_all(mut self, overrides: &LimitOverrides) -> (Self, Vec<LimitError>) {
        let mut errors = Vec::new();
        for (row, value) in overrides.rows() {
            match row.check(value) {
                Ok(value) => {
                    if let Some(field) = self.value_mut(row.name) {
                        *field = value;
                    }
                }
                Err(error) => errors.push(error),
            }
        }
        // A pair is judged only where both values stand as they were asked for.
        let sound = |name: &str| !errors.iter().any(|error: &LimitError| error.key() == name);
        let conflicts: Vec<_> = self
            .conflicts()
            .filter(|error| match error {
                LimitError::Conflict { low, high, .. } => sound(low) && sound(high),
                LimitError::OutOfRange { .. } => true,
            })
            .collect();
        errors.extend(conflicts);
        (self, errors)
    }

    fn checked(self) -> Result<Self, LimitError> {
        for (row, value) in self.rows() {
            row.check(value)?;
        }
        match self.conflicts().next() {
            None => Ok(self),
            Some(error) => Err(error),
        }
    }

    /// Pairs of which the first must fit into the second, as values in the same unit.
    fn conflicts(&self) -> impl Iterator<Item = LimitError> {
        let line = self.log_line_bytes_max;
        let ring_bytes = self.log_ring_kib_max.saturating_mul(BYTES_A_KIB);
        [
            (
                ("log_line_bytes_max", line),
                ("log_burst_bytes_max", self.log_burst_bytes_max),
                line <= self.log_burst_bytes_max,
            ),
            (
                ("log_line_bytes_max", line),
                ("log_ring_kib_max", self.log_ring_kib_max),
                line <= ring_bytes,
            ),
            (
                ("memory_guaranteed_mib", self.memory_guaranteed_mib),
                ("memory_mib_max", self.memory_mib_max),
                self.memory_guaranteed_mib <= self.memory_mib_max,
            ),
        ]
        .into_iter()
        .filter(|(_, _, fits)| !fits)
        .map(
            |((low, low_value), (high, high_value), _)| LimitError::Conflict {
                low,
                low_value,
                high,
                high_value,
            },
        )
    }
}

impl LimitOverrides {
    /// Whether the node's defaults hold throughout.
    pub fn is_empty(&self) -> bool {
        self.rows().next().is_none()
    }

    /// The row and value of each limit that is set, in the order of [`LIMIT_TABLE`].
    pub fn rows(&self) -> impl Iterator<Item = (&'static LimitRow, u64)> {
        LIMIT_TABLE
            .iter()
            .zip(self.values())
            .filter_map(|(row, value)| Some((row, value?)))
    }

    /// Sets one limit by its name, unchecked; whether there is such a limit.
    pub fn set(&mut self, name: &str, value: Option<u64>) -> bool {
        self.value_mut(name).is_some_and(|field| {
            *field = value;
            true
        })
    }
}

impl utoipa::PartialSchema for LimitOverrides {
    fn schema() -> RefOr<Schema> {
        // A null is what leaving the key out is.
        let nullable: SchemaType = [Type::Integer, Type::Null].into_iter().collect();
        LIMIT_TABLE
            .iter()
            .fold(ObjectBuilder::new(), |object, row| {
                object.property(row.name, row_schema(row, nullable.clone()))
            })
            .description(Some(
                "The limits set for one tenant; the node's defaults hold for the others.",
            ))
            .additional_properties(Some(AdditionalProperties::FreeForm(false)))
            .into()
    }
}

impl utoipa::ToSchema for LimitOverrides {}

impl utoipa::PartialSchema for Limits {
    fn schema() -> RefOr<Schema> {
        LIMIT_TABLE
            .iter()
            .fold(ObjectBuilder::new(), |object, row| {
                object
                    .property(row.name, row_schema(row, Type::Integer.into()))
                    .required(row.name)
            })
            .description(Some("Every limit of one tenant."))
            .into()
    }
}

impl utoipa::ToSchema for Limits {}

fn row_schema(row: &LimitRow, schema_type: SchemaType) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(schema_type)
        .description(Some(format!(
            "{} In {}; {} unless set. Beyond it: {}.",
            row.doc, row.unit, row.default, row.refusal
        )))
        .minimum(Some(row.min))
        .maximum(Some(row.max))
}

/// The table of limits in Markdown.
pub fn limits_markdown() -> String {
    let mut table = String::from(
        "| Limit | Unit | Default | Allowed | What it limits | Beyond it |\n\
         | --- | --- | ---: | --- | --- | --- |\n",
    );
    for row in LIMIT_TABLE {
        writeln!(
            table,
            "| `{}` | {} | {} | {} to {} | {} | {} |",
            row.name, row.unit, row.default, row.min, row.max, row.doc, row.refusal
        )
        .expect("a String takes every write");
    }
    table
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use utoipa::PartialSchema as _;

    use super::*;

    fn set(name: &str, value: u64) -> LimitOverrides {
        let mut overrides = LimitOverrides::default();
        assert!(overrides.set(name, Some(value)));
        overrides
    }

    #[test]
    fn the_defaults_are_in_their_ranges_and_fit_together() {
        for row in LIMIT_TABLE {
            assert!(row.check(row.default).is_ok(), "{}", row.name);
        }
        assert_eq!(Limits::default().conflicts().count(), 0);
        let none = LimitOverrides::default();
        assert!(none.is_empty());
        assert_eq!(Limits::default().with(&none), Ok(Limits::default()));
    }

    #[test]
    fn every_row_reaches_its_own_field() {
        for row in LIMIT_TABLE {
            // Towards more: less room for the log would not hold its default line.
            let value = row.default + 1;
            let (limits, errors) = Limits::default().with_all(&set(row.name, value));
            assert_eq!(errors, [], "{}", row.name);
            for ((changed, new), old) in limits.rows().zip(Limits::default().values()) {
                let expected = if changed == row { value } else { old };
                assert_eq!(new, expected, "{} after setting {}", changed.name, row.name);
            }
        }
    }

    #[test]
    fn a_value_out_of_range_is_named_with_its_range() {
        for row in LIMIT_TABLE {
            for value in [row.min.checked_sub(1), Some(row.max + 1)]
                .into_iter()
                .flatten()
            {
                let error = Limits::default().with(&set(row.name, value)).unwrap_err();
                assert_eq!(
                    error.to_string(),
                    format!(
                        "{} = {value} is out of range; allowed: {} to {} ({})",
                        row.name, row.min, row.max, row.unit
                    )
                );
            }
        }
    }

    #[test]
    fn a_log_line_must_fit_the_burst_and_the_ring() {
        let error = Limits::default().with(&set("log_burst_bytes_max", 4_095));
        assert_eq!(
            error.unwrap_err().to_string(),
            "log_line_bytes_max = 4096 does not fit into log_burst_bytes_max = 4095; \
             allowed: log_line_bytes_max at most log_burst_bytes_max"
        );
        let mut overrides = set("log_line_bytes_max", 65_536);
        assert!(Limits::default().with(&overrides).is_ok());
        overrides.log_ring_kib_max = Some(63);
        let error = Limits::default().with(&overrides).unwrap_err();
        assert_eq!(error.key(), "log_line_bytes_max");
        assert!(
            error.to_string().contains("into log_ring_kib_max = 63;"),
            "{error}"
        );
    }

    #[test]
    fn one_override_that_does_not_fit_takes_no_other_with_it() {
        let mut node = Limits {
            log_line_bytes_max: 1_024,
            log_burst_bytes_max: 2_048,
            ..Limits::default()
        };
        let mut overrides = set("log_line_bytes_max", 4_096);
        overrides.routes_max = Some(7);
        overrides.modules_max = Some(10_001);
        let (limits, refused) = node.with_fitting(&overrides);
        let mut expected = node;
        expected.routes_max = 7;
        assert_eq!(limits, expected);
        let refused: Vec<_> = refused
            .into_iter()
            .map(|(row, error)| format!("{}: {error}", row.name))
            .collect();
        assert_eq!(
            refused,
            [
                "modules_max: modules_max = 10001 is out of range; allowed: 0 to 10000 (modules)",
                "log_line_bytes_max: log_line_bytes_max = 4096 does not fit into \
                 log_burst_bytes_max = 2048; allowed: log_line_bytes_max at most log_burst_bytes_max",
            ]
        );
        // The ring comes after the line in the table, and makes room for it all the same.
        let mut overrides = set("log_line_bytes_max", 65_536);
        overrides.log_ring_kib_max = Some(64);
        node = Limits {
            log_ring_kib_max: 32,
            ..Limits::default()
        };
        let (limits, refused) = node.with_fitting(&overrides);
        assert_eq!(refused, []);
        assert_eq!(limits.log_line_bytes_max, 65_536);
    }

    #[test]
    fn overrides_are_read_strictly_and_written_sparsely() {
        let overrides: LimitOverrides = toml::from_str("routes_max = 7").unwrap();
        assert_eq!(overrides, set("routes_max", 7));
        assert_eq!(toml::to_string(&overrides).unwrap(), "routes_max = 7\n");
        let unknown = toml::from_str::<LimitOverrides>("request_deadline_s_max = 7");
        let error = unknown.unwrap_err();
        assert!(
            error.message().contains("request_deadline_ms_max"),
            "{error}"
        );
        assert!(toml::from_str::<LimitOverrides>("routes_max = -1").is_err());
        assert!(!LimitOverrides::default().set("routes", Some(1)));
    }

    #[test]
    fn limits_from_another_process_are_checked_too() {
        let text = toml::to_string(&Limits::default()).unwrap();
        assert_eq!(toml::from_str(&text), Ok(Limits::default()));
        let wrong = text.replace("routes_max = 64", "routes_max = 10001");
        let error = toml::from_str::<Limits>(&wrong).unwrap_err();
        assert!(
            error
                .message()
                .starts_with("routes_max = 10001 is out of range")
        );
        let wrong = text.replace("log_burst_bytes_max = 65536", "log_burst_bytes_max = 64");
        let error = toml::from_str::<Limits>(&wrong).unwrap_err();
        assert!(
            error
                .message()
                .starts_with("log_line_bytes_max = 4096 does not fit into")
        );
    }

    #[test]
    fn the_schema_carries_each_range() {
        let schema = toml::Value::try_from(LimitOverrides::schema()).unwrap();
        assert_eq!(schema["additionalProperties"].as_bool(), Some(false));
        for row in LIMIT_TABLE {
            let property = &schema["properties"][row.name];
            let bound = |key: &str| property[key].as_integer().unwrap();
            assert_eq!(bound("minimum"), i64::try_from(row.min).unwrap());
            assert_eq!(bound("maximum"), i64::try_from(row.max).unwrap());
        }
        let schema = toml::Value::try_from(Limits::schema()).unwrap();
        assert_eq!(
            schema["required"].as_array().unwrap().len(),
            LIMIT_TABLE.len()
        );
    }

    proptest! {
        #[test]
        fn what_with_accepts_is_in_range(values in proptest::collection::vec(
            proptest::option::weighted(0.3, prop_oneof![0..100_u64, any::<u64>()]), LIMIT_TABLE.len()
        )) {
            let mut overrides = LimitOverrides::default();
            for (row, value) in LIMIT_TABLE.iter().zip(values) {
                overrides.set(row.name, value);
            }
            if let Ok(limits) = Limits::default().with(&overrides) {
                for (row, value) in limits.rows() {
                    prop_assert!(row.check(value).is_ok());
                }
                prop_assert_eq!(limits.conflicts().count(), 0);
            }
            let (fitting, refused) = Limits::default().with_fitting(&overrides);
            prop_assert_eq!(fitting.checked(), Ok(fitting));
            match Limits::default().with(&overrides) {
                Ok(limits) => prop_assert_eq!((fitting, refused), (limits, Vec::new())),
                Err(_) => prop_assert!(!refused.is_empty()),
            }
        }
    }
}
