//! landlock: which files may be opened, whatever the process may ask the kernel for.

use std::os::fd::BorrowedFd;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, LandlockStatus, PathBeneath,
    RestrictionStatus, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, Scope,
};

/// Everything up to this version of the interface is denied; a kernel that has less denies what it has. Nothing that a
/// later version can deny is ever needed here, so it may be raised with the crate.
const DENIED: ABI = ABI::V7;

/// Denies the calling thread, and those it starts from now on, every file but those in `readable`, which may be read;
/// TCP connections and listening; signals and abstract sockets beyond this process. What is open stays open.
///
/// Gives the version of the interface that this kernel has, 0 for none.
pub(super) fn close(readable: Option<BorrowedFd<'_>>) -> Result<u32, RulesetError> {
    restrict(readable.map(|folder| (folder, AccessFs::ReadFile.into())))
}

/// The same but for the files in `folder`, which may be read, written, made and removed, and listed.
pub(super) fn close_but(folder: BorrowedFd<'_>) -> Result<u32, RulesetError> {
    let allowed = AccessFs::ReadFile
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::ReadDir
        | AccessFs::MakeReg
        | AccessFs::RemoveFile;
    restrict(Some((folder, allowed)))
}

fn restrict(allowed: Option<(BorrowedFd<'_>, BitFlags<AccessFs>)>) -> Result<u32, RulesetError> {
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(DENIED))?
        .handle_access(AccessNet::from_all(DENIED))?
        .scope(Scope::from_all(DENIED))?
        .create()?;
    if let Some((folder, allowed)) = allowed {
        rules = rules.add_rule(PathBeneath::new(folder, allowed))?;
    }
    Ok(version(&rules.restrict_self()?))
}

/// The version of the interface that this kernel has, 0 for none. Asks on a thread of its own, which alone is
/// restricted, and ends.
pub(super) fn version_here() -> u32 {
    std::thread::spawn(|| close(None))
        .join()
        .ok()
        .and_then(Result::ok)
        .unwrap_or(0)
}

fn version(status: &RestrictionStatus) -> u32 {
    match status.landlock {
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => 0,
        LandlockStatus::Available {
            effective_abi,
            kernel_abi,
        } => kernel_abi
            .and_then(|version| u32::try_from(version).ok())
            .unwrap_or(effective_abi as u32),
    }
}
