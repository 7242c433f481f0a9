//! Which thread ends the worker, where it is a fault or an abort.
//!
//! wasmtime owns the signals of faults and gives on those that are not traps of guests; what is set here gets them then,
//! marks the thread in the flight record, and lets the signal do what it would have done.

use std::sync::OnceLock;

use crate::link::flight::this_thread_crashed;

const SIGNALS: [libc::c_int; 5] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGABRT,
];

/// What was there before, in the order of [`SIGNALS`]: the standard library's word on stack overflows.
static BEFORE: [OnceLock<libc::sigaction>; SIGNALS.len()] =
    [const { OnceLock::new() }; SIGNALS.len()];

/// Sets the handlers. Comes before the first engine, so that wasmtime finds them.
#[allow(
    unsafe_code,
    reason = "handlers of signals can be set in no other way, and no crate offers them for faults"
)]
pub(super) fn mark_crashes() {
    for (signal, before) in SIGNALS.iter().zip(&BEFORE) {
        // SAFETY: all zeros is a valid sigaction: no handler, no flags, an empty mask.
        let (mut new, mut old): (libc::sigaction, libc::sigaction) = unsafe { std::mem::zeroed() };
        let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = handle;
        new.sa_sigaction = handler as usize;
        new.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        // SAFETY: asks for what is there, into a structure of ours. Kept before the handler can run.
        unsafe { libc::sigaction(*signal, std::ptr::null(), &raw mut old) };
        if before.set(old).is_ok() {
            // SAFETY: the handler has the signature that SA_SIGINFO asks for, and does only what a handler may: atomic
            // loads and stores, and calls that signal-safety(7) lists. It runs on the stack that each thread has for
            // signals, where it has one.
            unsafe { libc::sigaction(*signal, &raw const new, std::ptr::null_mut()) };
        }
    }
}

#[allow(
    unsafe_code,
    reason = "as above: what was there before is called by its address"
)]
extern "C" fn handle(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes its description of the signal, which is there for as long as the handler runs.
    let (code, sender) = unsafe { ((*info).si_code, (*info).si_pid()) };
    // SAFETY: getpid has no requirements.
    let own = unsafe { libc::getpid() };
    // Above zero it is the kernel's word on what the thread did; abort() sends the thread its signal itself. Anything
    // else comes from outside and may meet any thread.
    let is_fault = code > 0;
    if is_fault || (signal == libc::SIGABRT && sender == own) {
        this_thread_crashed();
    }
    let before = SIGNALS
        .iter()
        .position(|known| *known == signal)
        .and_then(|at| BEFORE.get(at)?.get());
    match before {
        Some(before)
            if is_fault
                && before.sa_flags & libc::SA_SIGINFO != 0
                && before.sa_sigaction != libc::SIG_DFL
                && before.sa_sigaction != libc::SIG_IGN =>
        {
            // SAFETY: an address that sigaction gave out with SA_SIGINFO is a handler of this signature.
            let before: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) =
                unsafe { std::mem::transmute(before.sa_sigaction) };
            before(signal, info, context);
        }
        _ => {
            // SAFETY: both are on the list of signal-safety(7). A fault happens again on return, and then ends the
            // process; a signal that was sent has to be sent again.
            unsafe {
                libc::signal(signal, libc::SIG_DFL);
                if !is_fault {
                    libc::raise(signal);
                }
            }
        }
    }
}
