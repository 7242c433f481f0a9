//! What holds the processes that handle strangers' code: the worker, the compile child, and those that have tenants' SQL
//! databases open.
//!
//! Takes orders from control with the first message; gives what came into force. Promises that a step the kernel does
//! not know is left out and said so, and that a step which fails for any other reason is an error: a process that was
//! told to confine itself and cannot never handles a guest. Never loosens anything, never reads a byte that a tenant
//! sent.
//!
//! Native code of strangers runs in the worker, and code generators have had escapes. Whoever takes over the worker
//! should find: a user of its own without capabilities and without a way to gain any; no file system but the artifacts,
//! read-only; no way to open a connection, start a process or send a signal; no memory both writable and executable.
//! Each barrier stands by itself:
//!
//! - *user* ([`privileges`]): where control may change users, a numeric user that owns nothing, and empty capability sets for
//!   good. No core dumps, not traceable by others of that user.
//! - *landlock* ([`files`]): which files may be opened, by where they lie; no TCP connections, no signals and abstract
//!   sockets beyond the process, as far as the kernel's version goes.
//! - *seccomp* ([`filter`]): which system calls there are at all; whatever is not on the list ends the process.
//!
//! landlock restricts the calling thread and those it starts, and so does giving up a user: both come before the first
//! thread is started. The filter is set for all threads at once, at the end, when there is least left to do.

mod files;
mod filter;
mod privileges;
mod syscalls;

use std::os::fd::BorrowedFd;

use serde::{Deserialize, Serialize};

pub use filter::FilterError;
pub use privileges::PrivilegeError;

/// How strictly; an operator's choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Strictness {
    /// Every barrier that the kernel has.
    #[default]
    Enforce,
    /// A system call that is not on the list is logged by the kernel instead of ending the process.
    Log,
    /// Neither filter nor landlock; capabilities and user go all the same.
    Off,
}

/// What a process is told to do to itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Orders {
    /// Filter and landlock.
    pub strictness: Strictness,
    /// The user and group to become, where the process is root's or has the right to change users.
    pub user: Option<u32>,
}

/// How the system call filter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum FilterState {
    /// What is not on the list ends the process.
    Enforced,
    /// What is not on the list is logged.
    Logged,
    /// There is none.
    #[default]
    Absent,
}

impl FilterState {
    /// As shown to people.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Enforced => "enforced",
            Self::Logged => "logged",
            Self::Absent => "absent",
        }
    }
}

/// What is in force in a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct InForce {
    /// The system call filter.
    pub filter: FilterState,
    /// The version of landlock's interface that is in use, 0 where there is none.
    pub landlock_abi: u32,
    /// The user that the process runs as.
    pub user: u32,
    /// Whether it has no capabilities and can gain none.
    pub without_capabilities: bool,
}

/// Why a process is not confined as it was told to be.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// Of [`privileges`].
    #[error(transparent)]
    Privileges(#[from] PrivilegeError),
    /// Of [`files`].
    #[error("landlock refuses its rules")]
    Landlock(#[from] landlock::RulesetError),
    /// Of [`filter`].
    #[error("the system call filter is refused")]
    Filter(#[from] FilterError),
}

/// Gives up what came with the user that the process was started as. Comes first; the process has one thread.
///
/// # Errors
/// [`ConfineError::Privileges`]
pub fn give_up_privileges(orders: Orders) -> Result<InForce, ConfineError> {
    let without_capabilities = privileges::give_up(orders.user)?;
    Ok(InForce {
        user: rustix::process::geteuid().as_raw(),
        without_capabilities,
        ..InForce::default()
    })
}

/// Closes the worker's file system but for `artifacts`, an open folder. Comes before the second thread.
///
/// # Errors
/// [`ConfineError::Landlock`]
pub fn close_files(
    orders: Orders,
    artifacts: Option<BorrowedFd<'_>>,
    in_force: &mut InForce,
) -> Result<(), ConfineError> {
    privileges::hide()?;
    if orders.strictness != Strictness::Off {
        in_force.landlock_abi = files::close(artifacts)?;
    }
    Ok(())
}

/// Closes the file system but for `folder`, an open one whose files the process may read, write, make and remove. Comes
/// before the second thread.
///
/// # Errors
/// [`ConfineError::Landlock`]
pub fn close_files_but(
    orders: Orders,
    folder: BorrowedFd<'_>,
    in_force: &mut InForce,
) -> Result<(), ConfineError> {
    privileges::hide()?;
    if orders.strictness != Strictness::Off {
        in_force.landlock_abi = files::close_but(folder)?;
    }
    Ok(())
}

/// The version of landlock's interface that the kernel has, 0 for none. Changes nothing for the caller.
#[must_use]
pub fn landlock_version() -> u32 {
    files::version_here()
}

/// Sets the worker's system call filter, for all threads. Comes last, before the first connection is accepted.
///
/// # Errors
/// [`ConfineError::Filter`]
pub fn filter_worker(orders: Orders, in_force: &mut InForce) -> Result<(), ConfineError> {
    in_force.filter = filter::set(&syscalls::worker(), orders.strictness)?;
    Ok(())
}

/// Sets the compile child's system call filter, for all threads. Comes before the component is read.
///
/// # Errors
/// [`ConfineError::Filter`]
pub fn filter_compile_child(orders: Orders, in_force: &mut InForce) -> Result<(), ConfineError> {
    in_force.filter = filter::set(&syscalls::compile_child(), orders.strictness)?;
    Ok(())
}

/// Sets the system call filter of a process that has a tenant's databases open, for all threads. Comes before a statement
/// is read.
///
/// # Errors
/// [`ConfineError::Filter`]
pub fn filter_databases(orders: Orders, in_force: &mut InForce) -> Result<(), ConfineError> {
    in_force.filter = filter::set(&syscalls::databases(), orders.strictness)?;
    Ok(())
}
