//! seccomp: which system calls there are at all.

use std::collections::BTreeMap;
use std::io;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, apply_filter_all_threads,
};

use super::{FilterState, Strictness};

#[cfg(target_arch = "x86_64")]
const ARCH: TargetArch = TargetArch::x86_64;
#[cfg(target_arch = "aarch64")]
const ARCH: TargetArch = TargetArch::aarch64;

/// One system call, or one form of it, that goes through. Several rows for one call are alternatives.
#[derive(Debug, Clone)]
pub(super) struct Allowed {
    pub(super) call: libc::c_long,
    /// What its arguments must be; all of it. Empty: anything.
    pub(super) when: Vec<When>,
}

/// A condition on one argument, by its position from 0. The lower half of it is looked at, which is all that the kernel
/// takes of a number, a flag or a descriptor.
#[derive(Debug, Clone, Copy)]
pub(super) enum When {
    /// The argument is this.
    Is(u8, u32),
    /// Of these bits of the argument, exactly those are set.
    Bits { argument: u8, of: u32, are: u32 },
    /// A pointer that must be null.
    Null(u8),
}

/// One system call that fails instead of ending the process, because code that has another way asks for it first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failing {
    pub(super) call: libc::c_long,
    pub(super) with: libc::c_int,
}

/// All that one kind of process may ask the kernel for.
#[derive(Debug, Clone)]
pub(super) struct List {
    pub(super) allowed: Vec<Allowed>,
    pub(super) failing: Vec<Failing>,
}

/// Why there is no filter.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// The list does not make a program: a bug.
    #[error("the list of system calls makes no filter")]
    Program(#[source] BackendError),
    /// The kernel refuses it, and not for not knowing filters.
    #[error("the kernel takes no filter")]
    Kernel(#[source] seccompiler::Error),
}

/// Sets the filter for all threads of the process, for good.
pub(super) fn set(list: &List, strictness: Strictness) -> Result<FilterState, FilterError> {
    let (otherwise, state) = match strictness {
        Strictness::Enforce => (SeccompAction::KillProcess, FilterState::Enforced),
        Strictness::Log => (SeccompAction::Log, FilterState::Logged),
        Strictness::Off => return Ok(FilterState::Absent),
    };
    let programs = programs(list, otherwise).map_err(FilterError::Program)?;
    for program in &programs {
        match apply_filter_all_threads(program) {
            Ok(()) => {}
            Err(error) if is_unknown(&error) => return Ok(FilterState::Absent),
            Err(error) => return Err(FilterError::Kernel(error)),
        }
    }
    Ok(state)
}

/// In the order to set them: the kernel asks all of them and does what the strictest says, and the last forbids setting
/// any more.
fn programs(list: &List, otherwise: SeccompAction) -> Result<Vec<BpfProgram>, BackendError> {
    let mut programs = Vec::new();
    let mut failing: BTreeMap<libc::c_int, Vec<libc::c_long>> = BTreeMap::new();
    for row in &list.failing {
        failing.entry(row.with).or_default().push(row.call);
    }
    for (with, calls) in &failing {
        let rules = calls.iter().map(|&call| (call, Vec::new())).collect();
        let fail = SeccompAction::Errno(with.unsigned_abs());
        programs.push(compile(rules, SeccompAction::Allow, fail)?);
    }
    let mut rules: BTreeMap<libc::c_long, Vec<SeccompRule>> = BTreeMap::new();
    // A failing call must pass the list, or the list would end the process.
    for row in &list.failing {
        rules.insert(row.call, Vec::new());
    }
    let mut unconditional = Vec::new();
    for row in &list.allowed {
        let alternatives = rules.entry(row.call).or_default();
        if row.when.is_empty() {
            unconditional.push(row.call);
        } else {
            let conditions: Result<Vec<_>, _> = row.when.iter().map(condition).collect();
            alternatives.push(SeccompRule::new(conditions?)?);
        }
    }
    // No conditions are what the library takes for "always".
    for call in unconditional {
        rules.insert(call, Vec::new());
    }
    programs.push(compile(rules, otherwise, SeccompAction::Allow)?);
    Ok(programs)
}

fn compile(
    rules: BTreeMap<libc::c_long, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    listed: SeccompAction,
) -> Result<BpfProgram, BackendError> {
    SeccompFilter::new(rules, otherwise, listed, ARCH)?.try_into()
}

fn condition(when: &When) -> Result<SeccompCondition, BackendError> {
    let (argument, length, operator, value) = match *when {
        When::Is(argument, value) => (argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value),
        When::Bits { argument, of, are } => (
            argument,
            SeccompCmpArgLen::Dword,
            SeccompCmpOp::MaskedEq(of.into()),
            are,
        ),
        When::Null(argument) => (argument, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0),
    };
    SeccompCondition::new(argument, length, operator, value.into())
}

/// A kernel without filters, or without setting them for all threads at once (before 3.17).
fn is_unknown(error: &seccompiler::Error) -> bool {
    let (seccompiler::Error::Prctl(error) | seccompiler::Error::Seccomp(error)) = error else {
        return false;
    };
    matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL))
        || error.kind() == io::ErrorKind::Unsupported
}

#[cfg(test)]
mod tests {
    use super::super::syscalls;
    use super::*;

    #[test]
    fn both_lists_make_programs_that_the_kernel_takes_by_their_length() {
        for list in [syscalls::worker(), syscalls::compile_child()] {
            for otherwise in [SeccompAction::KillProcess, SeccompAction::Log] {
                let programs = programs(&list, otherwise).unwrap();
                assert!(programs.iter().all(|program| program.len() < 4096));
                assert!(programs.len() > 1);
            }
        }
    }

    #[test]
    fn the_child_may_do_nothing_that_the_worker_may_not_but_end_itself() {
        let numbers = |list: &List| -> std::collections::BTreeSet<_> {
            list.allowed.iter().map(|row| row.call).collect()
        };
        let (worker, child) = (
            numbers(&syscalls::worker()),
            numbers(&syscalls::compile_child()),
        );
        let more: Vec<_> = child.difference(&worker).copied().collect();
        assert_eq!(more, [libc::SYS_kill]);
        assert!(child.len() + 5 < worker.len());
    }
}
