//! Confines itself like a worker or a compile child, by the very functions that they call, and then does what it is
//! told: to see what becomes of it.
//!
//! usage: deeds worker|compile|free FOLDER DEED
//!
//! Exits with 0 if the deed was done, with 3 and the error on standard output if it was refused, and by SIGSYS if there
//! is no such system call for it.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test code: a panic is the message"
)]

use std::io;
use std::os::fd::AsFd as _;
use std::process::{Command, ExitCode};
use std::sync::{Arc, Barrier};

use littorald::confine::{self, InForce, Orders, Strictness};

/// Deeds that are one system call with arguments that do no harm where it goes through.
const CALLS: &[(&str, libc::c_long, [libc::c_long; 6])] = &[
    (
        "socket",
        libc::SYS_socket,
        [libc::AF_INET as _, libc::SOCK_STREAM as _, 0, 0, 0, 0],
    ),
    (
        "unix-socket",
        libc::SYS_socket,
        [libc::AF_UNIX as _, libc::SOCK_STREAM as _, 0, 0, 0, 0],
    ),
    (
        "netlink",
        libc::SYS_socket,
        [libc::AF_NETLINK as _, libc::SOCK_RAW as _, 0, 0, 0, 0],
    ),
    ("connect", libc::SYS_connect, [-1, 0, 0, 0, 0, 0]),
    ("bind", libc::SYS_bind, [-1, 0, 0, 0, 0, 0]),
    ("listen", libc::SYS_listen, [-1, 1, 0, 0, 0, 0]),
    ("execve", libc::SYS_execve, [0, 0, 0, 0, 0, 0]),
    ("execveat", libc::SYS_execveat, [-1, 0, 0, 0, 0, 0]),
    (
        "a-process",
        libc::SYS_clone,
        [libc::SIGCHLD as _, 0, 0, 0, 0, 0],
    ),
    (
        "a-namespace",
        libc::SYS_unshare,
        [libc::CLONE_NEWUSER as _, 0, 0, 0, 0, 0],
    ),
    ("setns", libc::SYS_setns, [-1, 0, 0, 0, 0, 0]),
    (
        "ptrace",
        libc::SYS_ptrace,
        [libc::PTRACE_PEEKDATA as _, 1, 0, 0, 0, 0],
    ),
    (
        "process-vm-readv",
        libc::SYS_process_vm_readv,
        [1, 0, 0, 0, 0, 0],
    ),
    ("pidfd-open", libc::SYS_pidfd_open, [1, 0, 0, 0, 0, 0]),
    ("kill-others", libc::SYS_kill, [1, 0, 0, 0, 0, 0]),
    (
        "kill-a-thread-of-others",
        libc::SYS_tgkill,
        [1, 1, 0, 0, 0, 0],
    ),
    ("tkill", libc::SYS_tkill, [1, 0, 0, 0, 0, 0]),
    ("mount", libc::SYS_mount, [0, 0, 0, 0, 0, 0]),
    ("chroot", libc::SYS_chroot, [0, 0, 0, 0, 0, 0]),
    ("chdir", libc::SYS_chdir, [0, 0, 0, 0, 0, 0]),
    ("unlink", libc::SYS_unlinkat, [-1, 0, 0, 0, 0, 0]),
    ("rename", libc::SYS_renameat2, [-1, 0, -1, 0, 0, 0]),
    ("mkdir", libc::SYS_mkdirat, [-1, 0, 0, 0, 0, 0]),
    ("chmod", libc::SYS_fchmod, [-1, 0, 0, 0, 0, 0]),
    ("chown", libc::SYS_fchown, [-1, 0, 0, 0, 0, 0]),
    ("list-a-folder", libc::SYS_getdents64, [-1, 0, 0, 0, 0, 0]),
    ("openat2", libc::SYS_openat2, [-1, 0, 0, 0, 0, 0]),
    (
        "open-by-handle",
        libc::SYS_open_by_handle_at,
        [-1, 0, 0, 0, 0, 0],
    ),
    ("setuid", libc::SYS_setuid, [0, 0, 0, 0, 0, 0]),
    ("capset", libc::SYS_capset, [0, 0, 0, 0, 0, 0]),
    ("io-uring", libc::SYS_io_uring_setup, [1, 0, 0, 0, 0, 0]),
    ("bpf", libc::SYS_bpf, [0, 0, 0, 0, 0, 0]),
    ("userfaultfd", libc::SYS_userfaultfd, [0, 0, 0, 0, 0, 0]),
    (
        "perf-event",
        libc::SYS_perf_event_open,
        [0, 0, -1, -1, 0, 0],
    ),
    ("keyctl", libc::SYS_keyctl, [0, 0, 0, 0, 0, 0]),
    ("another-filter", libc::SYS_seccomp, [1, 0, 0, 0, 0, 0]),
    (
        "be-traceable",
        libc::SYS_prctl,
        [libc::PR_SET_DUMPABLE as _, 1, 0, 0, 0, 0],
    ),
    (
        "raise-a-limit",
        libc::SYS_prlimit64,
        [0, libc::RLIMIT_NOFILE as _, 1, 0, 0, 0],
    ),
    (
        "type-into-a-terminal",
        libc::SYS_ioctl,
        [0, libc::TIOCSTI as _, 0, 0, 0, 0],
    ),
    (
        "madvise-others",
        libc::SYS_process_madvise,
        [0, 0, 0, libc::MADV_DONTNEED as _, 0, 0],
    ),
    (
        "map-executable",
        libc::SYS_mmap,
        [
            0,
            4096,
            (libc::PROT_READ | libc::PROT_EXEC) as _,
            (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as _,
            -1,
            0,
        ],
    ),
    (
        "make-writable-and-executable",
        libc::SYS_mprotect,
        [
            0,
            0,
            (libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC) as _,
            0,
            0,
            0,
        ],
    ),
    (
        "an-old-filter",
        libc::SYS_prctl,
        [libc::PR_SET_SECCOMP as _, 2, 0, 0, 0, 0],
    ),
    (
        "a-file-in-memory",
        libc::SYS_memfd_create,
        [0, 0, 0, 0, 0, 0],
    ),
];

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [kind, folder, deed] = arguments.as_slice() else {
        eprintln!("usage: deeds worker|compile|free FOLDER DEED");
        return ExitCode::from(2);
    };
    // Started before, so that the filter has to find it.
    let confined = Arc::new(Barrier::new(2));
    let other = {
        let confined = Arc::clone(&confined);
        std::thread::spawn(move || {
            confined.wait();
            call("socket")
        })
    };
    confine_as(kind, folder);
    let done = match deed.as_str() {
        "nothing" => Ok(()),
        "in-another-thread" => {
            confined.wait();
            other.join().unwrap()
        }
        "a-thread" => {
            std::thread::spawn(|| ()).join().unwrap();
            Ok(())
        }
        "a-program" => Command::new("/bin/true").status().map(drop),
        "read-passwd" => std::fs::read("/etc/passwd").map(drop),
        "read-own-memory" => std::fs::File::open("/proc/self/mem").map(drop),
        "read-in-the-folder" => std::fs::read(format!("{folder}/artifact")).map(drop),
        "write-in-the-folder" => std::fs::write(format!("{folder}/artifact"), "").map(drop),
        name => call(name),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::from(3)
        }
    }
}

/// In the order of the worker and the child.
fn confine_as(kind: &str, folder: &str) {
    let strictness = match kind {
        "free" => Strictness::Off,
        _ => Strictness::Enforce,
    };
    let orders = Orders {
        strictness,
        user: None,
    };
    let mut in_force: InForce = confine::give_up_privileges(orders).unwrap();
    let folder = std::fs::File::open(folder).unwrap();
    match kind {
        "compile" => {
            drop(folder);
            confine::close_files(orders, None, &mut in_force).unwrap();
            confine::filter_compile_child(orders, &mut in_force).unwrap();
        }
        _ => {
            confine::close_files(orders, Some(folder.as_fd()), &mut in_force).unwrap();
            confine::filter_worker(orders, &mut in_force).unwrap();
        }
    }
}

#[allow(unsafe_code, reason = "no library makes calls that are not to be made")]
fn call(name: &str) -> io::Result<()> {
    let (_, number, [a, b, c, d, e, f]) = CALLS
        .iter()
        .find(|(known, ..)| *known == name)
        .unwrap_or_else(|| panic!("no deed is called {name}"));
    // SAFETY: every row has null pointers, descriptors that are not there, or asks for something that changes nothing
    // of this process's memory. The process that `clone` might make runs on a copy of this stack, and ends like this
    // one.
    let outcome = unsafe { libc::syscall(*number, *a, *b, *c, *d, *e, *f) };
    if outcome == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
