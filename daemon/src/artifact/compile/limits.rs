//! What one compilation may use up, and how the child binds itself to it.

use std::fs::File;
use std::io::{self, Write as _};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, nice, setrlimit};
use serde::{Deserialize, Serialize};

/// Open files of a child: standard streams, component, output, its event loop, one for each memory image.
const FILES_MAX: u64 = 64;
/// What the address space may exceed the memory by: executable, allocator arenas, thread stacks and guards, the
/// mapped result.
const ADDRESS_SPACE_MARGIN_BYTES: u64 = 2 << 30;

/// The limits of one child.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompileLimits {
    /// CPU time over all threads, in seconds.
    pub cpu_s_max: u32,
    /// From start to answer. Under load the child gets little CPU time: several times `cpu_s_max`.
    pub wall_max: Duration,
    /// Memory that the child may write to, in bytes. On a two-core x86_64 a guest of 60 KiB compiled within 20 MiB, one
    /// of 4 MiB within 104 MiB; 8 MiB of that is address space for the tables of an instance, never touched.
    pub memory_bytes_max: u64,
    /// Native code, in bytes.
    pub output_bytes_max: u64,
    /// Threads that generate code.
    pub threads_max: u32,
    /// How far the child stands back for others, 0 to 19 (nice(2)). 10 leaves it a tenth of a core that guests keep
    /// busy, 19 a seventieth: beside two busy loops on two cores the slowest of nine compilations of a 60 KiB guest
    /// took 0.6 s at 0, 2.7 s at 10 and 13.7 s at 19. A wall-clock limit soon takes the last for a costly component.
    pub niceness: u8,
}

impl CompileLimits {
    /// Binds the calling process, for good. Done before a byte of the component is read.
    pub(super) fn bind(&self) -> io::Result<()> {
        // First: afterwards these files belong to root.
        if let Ok(mut file) = File::options().write(true).open("/proc/self/oom_score_adj") {
            // The first to go when memory runs out. May be forbidden; then the other limits must do.
            let _ = file.write_all(b"1000");
        }
        let _ = nice(i32::from(self.niceness.min(19)));
        let address_space = self
            .memory_bytes_max
            .saturating_add(ADDRESS_SPACE_MARGIN_BYTES);
        lower(Resource::Nofile, FILES_MAX, FILES_MAX)?;
        lower(
            Resource::Fsize,
            self.output_bytes_max,
            self.output_bytes_max,
        )?;
        lower(Resource::Data, self.memory_bytes_max, self.memory_bytes_max)?;
        lower(Resource::As, address_space, address_space)?;
        // The first signal can be told from any other; the second cannot be held off.
        let cpu_s = u64::from(self.cpu_s_max.max(1));
        lower(Resource::Cpu, cpu_s, cpu_s + 1)
    }
}

/// Sets a limit, or leaves what is stricter already.
fn lower(resource: Resource, current: u64, maximum: u64) -> io::Result<()> {
    let have = getrlimit(resource);
    let stricter = |have: Option<u64>, want: u64| have.map_or(want, |have| have.min(want));
    let new = Rlimit {
        current: Some(stricter(have.current, current)),
        maximum: Some(stricter(have.maximum, maximum)),
    };
    Ok(setrlimit(resource, new)?)
}
