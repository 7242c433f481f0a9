//! The user, capabilities and what else comes with a process.

use rustix::io::Errno;
use rustix::process::{
    DumpableBehavior, Gid, Resource, Rlimit, Uid, geteuid, set_dumpable_behavior, setrlimit,
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, no_new_privs,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid,
};

/// Why privileges could not be given up.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// One of the calls that any process may make failed.
    #[error("{what}")]
    Kernel {
        /// Which.
        what: &'static str,
        /// What the kernel said.
        #[source]
        source: Errno,
    },
}

/// Becomes `user` if the process is root's or was given the right to change users, gives up every capability for good,
/// forbids core dumps.
///
/// Gives whether there is none left and none to be gained, as the kernel then says. The process must have one thread:
/// what the kernel changes here it changes for the calling one.
pub(super) fn give_up(user: Option<u32>) -> Result<bool, PrivilegeError> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none).map_err(kernel("core dumps cannot be forbidden"))?;
    set_no_new_privs(true).map_err(kernel("no_new_privs cannot be set"))?;
    empty_bounding_set();
    if let Some(user) = user.filter(|_| geteuid().is_root() || may_change_users()) {
        match become_user(user) {
            // In a user namespace the number may have no meaning, and a service manager may have taken the right to
            // change users away. What is in force says so.
            Ok(()) | Err(Errno::PERM | Errno::INVAL) => {}
            Err(error) => return Err(kernel("the user cannot be changed")(error)),
        }
    }
    // Kernels before 4.3 have no ambient set.
    let _ = clear_ambient_capability_set();
    let nothing = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, nothing).map_err(kernel("capabilities cannot be given up"))?;
    // A process whose user has changed is not dumpable, and its files in /proc then belong to root: the engine opens one
    // of them. Until `hide`, which comes before any guest.
    set_dumpable_behavior(DumpableBehavior::Dumpable)
        .map_err(kernel("PR_SET_DUMPABLE cannot be set"))?;
    let left = capabilities(None).map_err(kernel("capabilities cannot be read"))?;
    let is_locked = no_new_privs().map_err(kernel("no_new_privs cannot be read"))?;
    Ok(is_locked && left == nothing)
}

/// Nobody but root may trace the process, read its memory or its files in `/proc`, others of its user included.
pub(super) fn hide() -> Result<(), PrivilegeError> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(kernel("PR_SET_DUMPABLE cannot be set"))
}

/// A service manager can give a process that is not root's this right alone (`AmbientCapabilities=`).
fn may_change_users() -> bool {
    let wanted = CapabilitySet::SETUID | CapabilitySet::SETGID;
    capabilities(None).is_ok_and(|own| own.effective.contains(wanted))
}

fn become_user(user: u32) -> rustix::io::Result<()> {
    let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(user));
    // The order matters: without the user's rights, groups cannot be changed any more.
    set_thread_groups(&[])?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)
}

/// What a program with capabilities of its own could give, which `no_new_privs` forbids anyway. Only a process with
/// `CAP_SETPCAP` may take something out of the set, and only what its kernel knows: others have it as it is.
fn empty_bounding_set() {
    for capability in CapabilitySet::all().iter() {
        let _ = remove_capability_from_bounding_set(capability);
    }
}

fn kernel(what: &'static str) -> impl FnOnce(Errno) -> PrivilegeError {
    move |source| PrivilegeError::Kernel { what, source }
}
