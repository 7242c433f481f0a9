//! The lists of system calls, each with its reason. The only place where they are.
//!
//! A row that is missing shows as a death by SIGSYS, and the kernel's log names the number (`type=1326`); the suites run
//! with the lists enforced. A row that is not needed is an invitation: take it out.

use rustix::process::getpid;

use super::filter::{Allowed, Failing, List, When};

/// The worker's, once it is ready. By then every socket to listen on and every folder is open, and the threads that
/// serve have their event loops.
pub(super) fn worker() -> List {
    let mut list = both();
    list.allowed.extend(connections());
    list.allowed.extend(artifacts());
    list
}

/// The compile child's, once its component, its output and its link are open.
pub(super) fn compile_child() -> List {
    let mut list = both();
    // Ends itself when its parent is gone.
    list.allowed.push(only(
        libc::SYS_kill,
        vec![
            When::Is(0, own_pid()),
            When::Is(1, libc::SIGKILL.unsigned_abs()),
        ],
    ));
    // Nothing is to be opened any more. Failing rather than ending: the standard library and the allocator look for
    // figures in /proc and /sys at unexpected moments, and go on without.
    list.failing.push(Failing {
        call: libc::SYS_openat,
        with: libc::EACCES,
    });
    list
}

/// Of a process that has a tenant's databases open, once its link and its event loop are there.
pub(super) fn databases() -> List {
    let mut list = both();
    list.allowed.extend(databases_files());
    list
}

/// Memory, threads, clocks, and reading and writing what is open.
fn both() -> List {
    let mut allowed = Vec::new();
    allowed.extend(memory());
    allowed.extend(threads());
    allowed.extend(signals());
    allowed.extend(time());
    allowed.extend(open_files());
    List {
        allowed,
        failing: vec![
            // Its flags are in memory, where no filter can read them: glibc takes this for an old kernel and uses
            // `clone`.
            Failing {
                call: libc::SYS_clone3,
                with: libc::ENOSYS,
            },
            // Initial images of memories come from the artifact's own file; where they cannot, wasmtime tries this and
            // then goes without. A file in memory is a program to be, so it goes without.
            Failing {
                call: libc::SYS_memfd_create,
                with: libc::ENOSYS,
            },
        ],
    }
}

fn memory() -> Vec<Allowed> {
    let no_exec = When::Bits {
        argument: 2,
        of: bits(libc::PROT_EXEC),
        are: 0,
    };
    let exec_and_not_write = When::Bits {
        argument: 2,
        of: bits(libc::PROT_EXEC | libc::PROT_WRITE),
        are: bits(libc::PROT_EXEC),
    };
    vec![
        // Heap, stacks, slots of the pool, artifacts. Never executable from the start: wasmtime maps an artifact for
        // reading, relocates, and makes its text executable afterwards.
        only(libc::SYS_mmap, vec![no_exec]),
        any(libc::SYS_munmap),
        any(libc::SYS_mremap),
        any(libc::SYS_brk),
        // Guard pages and slots; text of artifacts. Nothing is ever writable and executable at once.
        only(libc::SYS_mprotect, vec![no_exec]),
        only(libc::SYS_mprotect, vec![exec_and_not_write]),
        // Slots and stacks are given back after a guest.
        any(libc::SYS_madvise),
        // The same in one call for many of them; of this process alone (`PIDFD_SELF`).
        only(
            libc::SYS_process_madvise,
            vec![
                When::Is(0, PIDFD_SELF.cast_unsigned()),
                When::Is(3, bits(libc::MADV_DONTNEED)),
            ],
        ),
        // Other cores must see new code before it runs: needed on aarch64 alone. `GLOBAL`, `PRIVATE_EXPEDITED_SYNC_CORE`
        // and its registration.
        only(libc::SYS_membarrier, vec![When::Is(0, 1)]),
        only(libc::SYS_membarrier, vec![When::Is(0, 32)]),
        only(libc::SYS_membarrier, vec![When::Is(0, 64)]),
    ]
}

fn threads() -> Vec<Allowed> {
    let thread = libc::CLONE_VM
        | libc::CLONE_FS
        | libc::CLONE_FILES
        | libc::CLONE_SIGHAND
        | libc::CLONE_THREAD
        | libc::CLONE_SYSVSEM
        | libc::CLONE_SETTLS
        | libc::CLONE_PARENT_SETTID
        | libc::CLONE_CHILD_CLEARTID;
    vec![
        // Threads that load artifacts, and those that generate code, come and go. Exactly pthread_create's flags: with
        // any other it could be a process or a new namespace.
        only(libc::SYS_clone, vec![When::Is(0, bits(thread))]),
        any(libc::SYS_set_robust_list),
        any(libc::SYS_rseq),
        any(libc::SYS_exit),
        any(libc::SYS_exit_group),
        any(libc::SYS_futex),
        any(libc::SYS_sched_yield),
        any(libc::SYS_gettid),
        any(libc::SYS_getpid),
        // How many cores there are, and which one this is: pools of slots and arenas are sharded by it.
        any(libc::SYS_sched_getaffinity),
        any(libc::SYS_getcpu),
        // A thread's name; and glibc's names for mappings.
        only(libc::SYS_prctl, vec![When::Is(0, bits(libc::PR_SET_NAME))]),
        only(libc::SYS_prctl, vec![When::Is(0, bits(libc::PR_SET_VMA))]),
        // Reading limits of its own; glibc does, to size stacks.
        only(libc::SYS_prlimit64, vec![When::Is(0, 0), When::Null(2)]),
    ]
}

fn signals() -> Vec<Allowed> {
    vec![
        // Traps of guests are faults, handled on a stack of their own that each thread sets up.
        any(libc::SYS_rt_sigreturn),
        any(libc::SYS_rt_sigprocmask),
        any(libc::SYS_rt_sigaction),
        any(libc::SYS_sigaltstack),
        // abort(): a signal to a thread of this very process. No other process can be meant.
        only(libc::SYS_tgkill, vec![When::Is(0, own_pid())]),
        // What the kernel makes of a sleep that a stopped process was in.
        any(libc::SYS_restart_syscall),
    ]
}

fn time() -> Vec<Allowed> {
    vec![
        // CPU time of a thread, and every clock where the machine has no fast way to read it.
        any(libc::SYS_clock_gettime),
        any(libc::SYS_clock_getres),
        #[cfg(target_arch = "x86_64")]
        any(libc::SYS_gettimeofday),
        any(libc::SYS_clock_nanosleep),
        any(libc::SYS_nanosleep),
        // Random bytes for guests, request ids, hash tables.
        any(libc::SYS_getrandom),
    ]
}

/// Descriptors that are there: nothing here makes one that leads anywhere new.
fn open_files() -> Vec<Allowed> {
    let descriptor_alone = |argument| When::Bits {
        argument,
        of: bits(libc::AT_EMPTY_PATH),
        are: bits(libc::AT_EMPTY_PATH),
    };
    vec![
        // Connections, the link's wake-ups, the artifact to be written, the log.
        any(libc::SYS_read),
        any(libc::SYS_readv),
        any(libc::SYS_pread64),
        any(libc::SYS_write),
        any(libc::SYS_writev),
        any(libc::SYS_lseek),
        any(libc::SYS_close),
        // How long a file is.
        any(libc::SYS_fstat),
        only(libc::SYS_newfstatat, vec![descriptor_alone(3)]),
        only(libc::SYS_statx, vec![descriptor_alone(2)]),
        // Copies of descriptors, and whether they block.
        only(
            libc::SYS_fcntl,
            vec![When::Is(1, bits(libc::F_DUPFD_CLOEXEC))],
        ),
        only(libc::SYS_fcntl, vec![When::Is(1, bits(libc::F_GETFD))]),
        only(libc::SYS_fcntl, vec![When::Is(1, bits(libc::F_GETFL))]),
        only(libc::SYS_fcntl, vec![When::Is(1, bits(libc::F_SETFL))]),
        // The link with control, which passes artifacts as open files.
        any(libc::SYS_recvmsg),
        any(libc::SYS_sendmsg),
        // Event loops, made before.
        any(libc::SYS_epoll_ctl),
        any(libc::SYS_epoll_pwait),
        #[cfg(target_arch = "x86_64")]
        any(libc::SYS_epoll_wait),
        any(libc::SYS_ppoll),
        #[cfg(target_arch = "x86_64")]
        any(libc::SYS_poll),
    ]
}

/// Clients' connections. There is no `socket`, `connect`, `bind` or `listen`: they come out of sockets that control
/// listens on.
fn connections() -> Vec<Allowed> {
    let option = |level, name| vec![When::Is(1, bits(level)), When::Is(2, bits(name))];
    vec![
        any(libc::SYS_accept4),
        any(libc::SYS_recvfrom),
        // To whom the socket is connected, and nobody else.
        only(libc::SYS_sendto, vec![When::Null(4)]),
        any(libc::SYS_shutdown),
        // Small answers go out at once.
        only(
            libc::SYS_setsockopt,
            option(libc::IPPROTO_TCP, libc::TCP_NODELAY),
        ),
        // What became of a connection.
        only(
            libc::SYS_getsockopt,
            option(libc::SOL_SOCKET, libc::SO_ERROR),
        ),
        // A listening socket that came over the link must not block.
        only(libc::SYS_ioctl, vec![When::Is(1, FIONBIO)]),
    ]
}

/// Components, from files that control passed.
fn artifacts() -> Vec<Allowed> {
    vec![
        // Opened again through /proc/self/fd, to be mapped: for reading and nothing else. Where it may lie is for
        // landlock to say.
        only(
            libc::SYS_openat,
            vec![When::Is(2, bits(libc::O_RDONLY | libc::O_CLOEXEC))],
        ),
        // Which pages a guest wrote to, so that only those are reset.
        only(libc::SYS_ioctl, vec![When::Is(1, PAGEMAP_SCAN)]),
    ]
}

/// SQLite's files. Which they may be is for landlock to say: the tenant's folder alone.
fn databases_files() -> Vec<Allowed> {
    vec![
        any(libc::SYS_openat),
        #[cfg(target_arch = "x86_64")]
        any(libc::SYS_open),
        #[cfg(target_arch = "x86_64")]
        any(libc::SYS_unlink),
        any(libc::SYS_unlinkat),
        // Paths are made absolute, and looked at for links; whether a log is there.
        any(libc::SYS_getcwd),
        #[cfg(target_arch = "x86_64")]
        any(libc::SYS_stat),
        #[cfg(target_arch = "x86_64")]
        any(libc::SYS_lstat),
        any(libc::SYS_newfstatat),
        any(libc::SYS_statx),
        #[cfg(target_arch = "x86_64")]
        any(libc::SYS_readlink),
        any(libc::SYS_readlinkat),
        #[cfg(target_arch = "x86_64")]
        any(libc::SYS_access),
        any(libc::SYS_faccessat),
        // How many databases there are, and whether the disk is full.
        any(libc::SYS_getdents64),
        any(libc::SYS_statfs),
        any(libc::SYS_pwrite64),
        any(libc::SYS_fsync),
        any(libc::SYS_fdatasync),
        any(libc::SYS_ftruncate),
        // The log gets the mode and the owner of its database, which are this user's.
        any(libc::SYS_fchmod),
        any(libc::SYS_fchown),
        any(libc::SYS_geteuid),
        // Locks between connections.
        only(libc::SYS_fcntl, vec![When::Is(1, bits(libc::F_SETLK))]),
        only(libc::SYS_fcntl, vec![When::Is(1, bits(libc::F_GETLK))]),
        only(libc::SYS_fcntl, vec![When::Is(1, bits(libc::F_SETFD))]),
    ]
}

/// This very process, where a descriptor of one is asked for (linux/pidfd.h).
const PIDFD_SELF: libc::c_int = -10_000;
/// `_IOWR('f', 16, struct pm_scan_arg)` (linux/fs.h), the same on both architectures.
const PAGEMAP_SCAN: u32 = 0xc060_6610;
/// asm-generic/ioctls.h, the same on both architectures.
const FIONBIO: u32 = 0x5421;

fn any(call: libc::c_long) -> Allowed {
    only(call, Vec::new())
}

fn only(call: libc::c_long, when: Vec<When>) -> Allowed {
    Allowed { call, when }
}

/// A number or a set of flags as the kernel sees it.
fn bits(value: libc::c_int) -> u32 {
    value.cast_unsigned()
}

fn own_pid() -> u32 {
    getpid().as_raw_pid().cast_unsigned()
}
