//! `littorald doctor`: what this box has, the pool of instances that follows, and what to change.
//!
//! Takes the configuration that `run` would take and figures of the box ([`Facts`]); gives a [`Report`], for people by
//! `Display` and for programs by `Serialize`. Promises that the pool is the one that `run` would make on this box, by
//! the same code. Starts nothing, opens nothing but files of the kernel's, and changes nothing.

mod advice;
mod facts;
mod page;
mod sizes;

use edge_config::Config;
use serde::Serialize;

pub use facts::{Facts, Feature, Kernel};
pub use sizes::{Least, SizeRow};

use crate::control::capacity::{Budgets, pool};
use crate::engine::{Bound, Bounds, EngineShape, Pool};

/// All that the doctor has to say.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The box.
    #[serde(rename = "box")]
    pub facts: Facts,
    /// What the node takes for what.
    pub budgets: BudgetsShown,
    /// The pool; none where a node with this configuration would not start here.
    pub pool: Option<PoolShown>,
    /// Why there is none.
    pub refused: Option<String>,
    /// How many instances of each size there can be at once; empty without a pool.
    pub sizes: Vec<SizeRow>,
    /// What to change; empty where there is nothing.
    pub advice: Vec<String>,
}

/// The node's budgets, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct BudgetsShown {
    /// Linear memories and tables of guests.
    pub guests_bytes: u64,
    /// What ended instances leave for the next.
    pub kept_bytes: u64,
    /// Loaded components.
    pub code_bytes: u64,
    /// Buffers of connections and requests.
    pub buffers_bytes: u64,
}

/// The pool of instances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PoolShown {
    /// Whether guard pages make checks of bounds in compiled code needless.
    pub guard_pages: bool,
    /// Address space from one memory to the next, in bytes, guard included.
    pub slot_bytes: u64,
    /// The guard alone, in bytes.
    pub guard_bytes: u64,
    /// The most that one memory can grow to, in bytes, whatever a tenant is allowed.
    pub memory_bytes_max: u64,
    /// Address space of the whole pool, in bytes.
    pub reserved_bytes: u64,
    /// Instances at once.
    pub instances_max: u32,
    /// What decided that.
    pub bound: Bound,
    /// What each bound would allow.
    pub bounds: Bounds,
    /// What an ended instance leaves for the next at most, in bytes.
    pub kept_bytes_per_instance: u64,
    /// Of its linear memory alone.
    pub kept_memory_bytes_per_instance: u64,
    /// The same of all instances together: within its budget.
    pub kept_bytes_max: u64,
    /// Slots that stand ready for their module before one of them is given to another.
    pub warm_slots: u32,
}

impl PoolShown {
    fn of(pool: &Pool) -> Self {
        let shape: &EngineShape = &pool.shape;
        Self {
            guard_pages: shape.has_guard_pages(),
            slot_bytes: shape.layout().slot_bytes(),
            guard_bytes: shape.memory_guard_bytes,
            memory_bytes_max: shape.memory_bytes_max,
            reserved_bytes: pool.reserved_bytes(),
            instances_max: shape.instances_max,
            bound: pool.bound,
            bounds: pool.bounds,
            kept_bytes_per_instance: shape.kept.instance_bytes(),
            kept_memory_bytes_per_instance: shape.kept.memory_bytes,
            kept_bytes_max: pool.kept_bytes_max(),
            warm_slots: shape.warm_slots,
        }
    }
}

impl Report {
    /// What follows from a configuration on a box with these figures. Reads nothing.
    #[must_use]
    pub fn of(config: &Config, facts: Facts) -> Self {
        let budgets = Budgets::of(config, facts.memory_bytes());
        let (pool, refused) = match pool(config, &budgets, &facts.figures) {
            Ok(pool) => (Some(PoolShown::of(&pool)), None),
            Err(error) => (None, Some(error.to_string())),
        };
        let sizes = pool
            .as_ref()
            .map(|pool| sizes::rows(pool, budgets.guests_bytes))
            .unwrap_or_default();
        let budgets = BudgetsShown {
            guests_bytes: budgets.guests_bytes,
            kept_bytes: budgets.kept_bytes,
            code_bytes: budgets.code_bytes,
            buffers_bytes: budgets.buffers_bytes,
        };
        let mut report = Self {
            facts,
            budgets,
            pool,
            refused,
            sizes,
            advice: Vec::new(),
        };
        report.advice = advice::of(&report, config);
        report
    }

    /// Whether a node with this configuration finds room for its instances.
    #[must_use]
    pub fn can_start(&self) -> bool {
        self.pool.is_some()
    }
}

#[cfg(test)]
mod tests;
