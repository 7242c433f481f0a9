//! How a module's instances are used: a new one for every request, or one for several.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::PlaneError;

/// The world whose instances serve one request at a time, whatever is set.
const ONE_AT_A_TIME: &str = "wasi:http/proxy@0.2";
/// The world whose instances serve one request and end.
const ONE_IN_ALL: &str = "wasi:cli/command@0.2";

/// How the instances of a module are used.
///
/// What an instance of `reuse` keeps in its memory is there for the next request that it serves, to the same module of
/// the same tenant; no other tenant's request ever meets it, nor one of another module or version. Which of several
/// instances serves a request, and when one ends, is the node's to choose: memory is a cache and nothing more. An
/// instance that trapped or was ended by a limit serves no other request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "mode", rename_all = "snake_case", deny_unknown_fields)]
pub enum InstanceUse {
    /// Every request has a new instance, and nothing is left of it afterwards.
    // With braces, or serde would take any other member beside `mode` in silence.
    Fresh {},
    /// An instance serves several requests.
    Reuse {
        /// Requests that one instance serves at most; each instance's own number is up to a quarter smaller, so that
        /// they do not end together.
        #[serde(default = "requests_max")]
        #[schema(default = 128, minimum = 2, maximum = 1_000_000)]
        requests_max: u64,
        /// An instance that has waited this long for a request is dropped, in milliseconds.
        #[serde(default = "idle_ms_max")]
        #[schema(default = 60_000, minimum = 100, maximum = 3_600_000)]
        idle_ms_max: u64,
        /// Requests that one instance serves at once. An instance of `wasi:http/proxy@0.2` serves one at a time: more
        /// is refused while the active version serves that world, and counts as 1 for versions of it that come later
        /// or are pinned by a route.
        #[serde(default = "concurrency_max")]
        #[schema(default = 1, minimum = 1, maximum = 1_000)]
        concurrency_max: u64,
        /// An instance whose linear memories hold more than this after a request serves no other, in MiB.
        #[serde(default = "memory_mib_max")]
        #[schema(default = 32, minimum = 1, maximum = 65_536)]
        memory_mib_max: u64,
    },
}

fn requests_max() -> u64 {
    128
}

fn idle_ms_max() -> u64 {
    60_000
}

fn concurrency_max() -> u64 {
    1
}

fn memory_mib_max() -> u64 {
    32
}

impl Default for InstanceUse {
    fn default() -> Self {
        Self::Fresh {}
    }
}

impl InstanceUse {
    /// As the JSON spells it: `fresh` or `reuse`.
    #[must_use]
    pub fn mode(&self) -> &'static str {
        match self {
            Self::Fresh {} => "fresh",
            Self::Reuse { .. } => "reuse",
        }
    }

    /// Reuse with every figure at its default.
    #[must_use]
    pub fn reuse() -> Self {
        Self::Reuse {
            requests_max: requests_max(),
            idle_ms_max: idle_ms_max(),
            concurrency_max: concurrency_max(),
            memory_mib_max: memory_mib_max(),
        }
    }

    /// Whether it may be set for a module whose active version is this one, and serves this world.
    ///
    /// # Errors
    /// [`PlaneError::InvalidValue`] for the first figure that is out of its range, and for more than one request at
    /// once where the world's instances serve one.
    pub fn check(&self, active_version: u64, world: &str) -> Result<(), PlaneError> {
        let Self::Reuse {
            requests_max,
            idle_ms_max,
            concurrency_max,
            memory_mib_max,
        } = *self
        else {
            return Ok(());
        };
        let refuse = |field: &str, why: String| {
            Err(PlaneError::InvalidValue {
                field: field.to_owned(),
                why,
            })
        };
        for (field, value, min, max, unit) in [
            ("requests_max", requests_max, 2, 1_000_000, "requests"),
            ("idle_ms_max", idle_ms_max, 100, 3_600_000, "milliseconds"),
            ("concurrency_max", concurrency_max, 1, 1_000, "requests"),
            ("memory_mib_max", memory_mib_max, 1, 65_536, "MiB"),
        ] {
            if !(min..=max).contains(&value) {
                let why = format!("{value} is out of range; allowed: {min} to {max} ({unit})");
                return refuse(field, why);
            }
        }
        if world == ONE_IN_ALL {
            return refuse(
                "mode",
                format!(
                    "`reuse` does not fit the active version, {active_version}, which serves `{world}`: a program runs \
                     once for each request; allowed: `fresh`"
                ),
            );
        }
        if concurrency_max > 1 && world == ONE_AT_A_TIME {
            return refuse(
                "concurrency_max",
                format!(
                    "{concurrency_max} does not fit the active version, {active_version}, which serves `{world}`: its \
                     instances serve one request at a time; allowed: 1"
                ),
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICE: &str = "wasi:http/service@0.3";

    fn read(text: &str) -> Result<InstanceUse, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn figures_that_are_left_out_have_their_defaults() {
        assert_eq!(read(r#"{"mode":"reuse"}"#), Ok(InstanceUse::reuse()));
        assert_eq!(read(r#"{"mode":"fresh"}"#), Ok(InstanceUse::default()));
        assert_eq!(
            serde_json::to_string(&InstanceUse::default()).unwrap(),
            r#"{"mode":"fresh"}"#
        );
        assert_eq!(
            serde_json::to_string(&InstanceUse::reuse()).unwrap(),
            r#"{"mode":"reuse","requests_max":128,"idle_ms_max":60000,"concurrency_max":1,"memory_mib_max":32}"#
        );
    }

    #[test]
    fn what_is_unknown_or_of_another_kind_is_not_taken() {
        for (text, said) in [
            ("{}", "`mode`"),
            (r#"{"mode":"again"}"#, "`fresh` or `reuse`"),
            (r#"{"mode":"fresh","requests_max":2}"#, "`requests_max`"),
            (r#"{"mode":"reuse","requests":2}"#, "`requests_max`"),
            (r#"{"mode":"reuse","requests_max":-1}"#, "-1"),
            (r#"{"mode":"reuse","idle_ms_max":null}"#, "null"),
            (r#"{"mode":"reuse","mode":"fresh"}"#, "duplicate field"),
            (
                r#"{"mode":"reuse","requests_max":2,"requests_max":3}"#,
                "duplicate field",
            ),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn each_figure_has_its_range() {
        for (field, min, max) in [
            ("requests_max", 2_u64, 1_000_000_u64),
            ("idle_ms_max", 100, 3_600_000),
            ("concurrency_max", 1, 1_000),
            ("memory_mib_max", 1, 65_536),
        ] {
            let check = |value: u64| {
                read(&format!(r#"{{"mode":"reuse","{field}":{value}}}"#))
                    .unwrap()
                    .check(1, SERVICE)
            };
            assert!(check(min).is_ok() && check(max).is_ok(), "{field}");
            for wrong in [0, min - 1, max + 1, u64::MAX] {
                let said = check(wrong).unwrap_err().to_string();
                let wanted = format!("`{field}`: {wrong} is out of range; allowed: {min} to {max}");
                assert!(said.starts_with(&wanted), "{said}");
            }
        }
    }

    #[test]
    fn an_instance_of_the_older_world_serves_one_at_a_time() {
        let four = read(r#"{"mode":"reuse","concurrency_max":4}"#).unwrap();
        assert!(four.check(7, SERVICE).is_ok());
        let said = four.check(7, ONE_AT_A_TIME).unwrap_err().to_string();
        assert_eq!(
            said,
            "`concurrency_max`: 4 does not fit the active version, 7, which serves `wasi:http/proxy@0.2`: its \
             instances serve one request at a time; allowed: 1"
        );
        assert!(InstanceUse::reuse().check(7, ONE_AT_A_TIME).is_ok());
    }

    #[test]
    fn a_program_has_no_instance_to_use_again() {
        let said = InstanceUse::reuse().check(7, ONE_IN_ALL).unwrap_err();
        assert_eq!(
            said.to_string(),
            "`mode`: `reuse` does not fit the active version, 7, which serves `wasi:cli/command@0.2`: a program runs once \
             for each request; allowed: `fresh`"
        );
        assert!(InstanceUse::default().check(7, ONE_IN_ALL).is_ok());
    }
}
