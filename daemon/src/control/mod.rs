//! The control process.

pub mod logs;
