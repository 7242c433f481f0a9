//! What this box has, as far as it matters to a node.

use std::path::Path;

use rustix::process::{Resource, getrlimit};
use serde::Serialize;

use crate::confine::landlock_version;
use crate::control::capacity::BoxMemory;
use crate::engine::BoxFigures;

/// A feature of the CPU that compiled code makes use of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Feature {
    /// As the architecture's manual calls it.
    pub name: &'static str,
    /// Whether this CPU has it.
    pub present: bool,
}

/// What the kernel offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kernel {
    /// `uname -r`.
    pub release: String,
    /// The version of landlock's interface, 0 for none.
    pub landlock_version: u32,
    /// Whether system calls can be filtered.
    pub seccomp: bool,
    /// Whether it says how long tasks stall for memory (PSI).
    pub memory_pressure: bool,
    /// Whether it gives no more memory than there is (`vm.overcommit_memory` = 2).
    pub strict_overcommit: bool,
}

/// One box, for one process on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// The architecture, as Rust calls it.
    pub architecture: &'static str,
    /// What compiled code uses of the CPU.
    pub cpu_features: Vec<Feature>,
    /// What the pool is made from.
    pub figures: BoxFigures,
    /// Memory of the box, in bytes.
    pub box_memory_bytes: u64,
    /// Memory that a control group leaves this process, in bytes, where that is less.
    pub group_memory_bytes: Option<u64>,
    /// `RLIMIT_AS`, in bytes, where there is one.
    pub address_limit_bytes: Option<u64>,
    /// Descriptors that a process may raise its limit to (`RLIMIT_NOFILE`).
    pub descriptors_max: u64,
    /// The kernel.
    pub kernel: Kernel,
}

impl Facts {
    /// This box. Reads small files of the kernel's.
    #[must_use]
    pub fn of_this_box() -> Self {
        let (box_memory_bytes, group_memory_bytes) = BoxMemory::totals();
        Self {
            architecture: std::env::consts::ARCH,
            cpu_features: cpu_features(),
            figures: BoxFigures::of_this_box(),
            box_memory_bytes,
            group_memory_bytes,
            address_limit_bytes: getrlimit(Resource::As).current,
            descriptors_max: getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX),
            kernel: Kernel::of_this_box(),
        }
    }

    /// Memory that the node may use, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.group_memory_bytes.unwrap_or(self.box_memory_bytes)
    }

    /// Bits of an address that a process can use, rounded down.
    #[must_use]
    pub fn address_bits(&self) -> u32 {
        self.figures
            .address_space_bytes
            .checked_ilog2()
            .unwrap_or(0)
    }
}

impl Kernel {
    fn of_this_box() -> Self {
        let read = |path: &str| std::fs::read_to_string(Path::new(path)).ok();
        Self {
            release: rustix::system::uname()
                .release()
                .to_string_lossy()
                .into_owned(),
            landlock_version: landlock_version(),
            // An emulator shows the files of a kernel whose calls it does not have.
            seccomp: rustix::thread::secure_computing_mode().is_ok()
                && read("/proc/sys/kernel/seccomp/actions_avail")
                    .is_some_and(|all| all.split_whitespace().any(|one| one == "kill_process")),
            memory_pressure: read("/proc/pressure/memory").is_some(),
            strict_overcommit: read("/proc/sys/vm/overcommit_memory")
                .is_some_and(|mode| mode.trim() == "2"),
        }
    }
}

/// Those that the code generator asks for on this architecture.
fn cpu_features() -> Vec<Feature> {
    macro_rules! features {
        ($detect:ident: $($name:tt),*) => {
            vec![$(Feature { name: $name, present: std::arch::$detect!($name) }),*]
        };
    }
    #[cfg(target_arch = "x86_64")]
    return features!(
        is_x86_feature_detected: "sse3", "ssse3", "sse4.1", "sse4.2", "popcnt", "lzcnt", "bmi1", "bmi2", "avx", "avx2",
        "fma", "avx512f"
    );
    #[cfg(target_arch = "aarch64")]
    return features!(is_aarch64_feature_detected: "lse", "paca", "fp16", "dotprod", "i8mm");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return Vec::new();
}
