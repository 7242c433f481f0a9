//! Native code and the instances that run it.
//!
//! Takes artifacts that this node compiled and admissions that quotas granted; promises that one instance never takes
//! more memory or time than its limits; never compiles (that is the compile process) and never speaks HTTP to anyone.

mod config;
mod end;
mod figures;
mod hive;
mod instance;
mod limits;
mod policy;
mod program;
mod resident;
mod reuse;
mod shape;
mod sizing;
mod slice;
mod ticker;

pub(crate) use config::{CORE_INSTANCES_PER_COMPONENT, MEMORIES_PER_COMPONENT};
pub use config::{compiler_config, runtime_config};
pub use end::{GuestEnd, Remains};
pub use figures::BoxFigures;
pub use instance::{Head, Live, Loaded, Serving, Start};
pub use limits::{InstanceLimits, MemoryRefused};
pub use resident::{Resident, ResidentBounds, Slot};
pub use reuse::{Instances, Resting};
pub use shape::{EngineShape, Kept, Layout, ShapeError};
pub use sizing::{Bound, Bounds, Pool, Wanted};
pub use slice::Slice;
pub use ticker::{Running, TICK, Ticker};
