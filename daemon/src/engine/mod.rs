//! Native code and the instances that run it.
//!
//! Takes artifacts that this node compiled and admissions that quotas granted; promises that one instance never takes
//! more memory or time than its limits; never compiles (that is the compile process) and never speaks HTTP to anyone.

mod config;
mod limits;
mod shape;

pub use config::{compiler_config, runtime_config};
pub use limits::InstanceLimits;
pub use shape::{EngineShape, ShapeError};
