//! The shape of the engine on this box: how instances lie in the address space.
//!
//! Decided once, by control, at start; handed to the compile process and to the worker, which must agree to the byte,
//! since the layout of linear memories is baked into the native code.

use serde::{Deserialize, Serialize};

/// Address space that one memory slot takes where bounds checks can be left to guard pages.
const GUARDED_RESERVATION_BYTES: u64 = 4 << 30;
/// The guard that makes a 32-bit access with a constant offset fault instead of reading a neighbour.
const GUARDED_GUARD_BYTES: u64 = 32 << 20;
/// The guard behind a small slot: bounds are checked in code, so this only catches what slips.
const COMPACT_GUARD_BYTES: u64 = 64 << 10;

/// Memory maps that each instance takes in a worker: 20,056 were there for 5,000.
const MAPS_PER_INSTANCE: u64 = 4;

/// How linear memories lie in the address space, and how many there are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineShape {
    /// Address space reserved for each linear memory, in bytes.
    pub memory_reservation_bytes: u64,
    /// Unmapped address space behind each, in bytes.
    pub memory_guard_bytes: u64,
    /// The most one linear memory may ever grow to, in bytes, whatever a tenant is allowed.
    pub memory_bytes_max: u64,
    /// Most component instances alive at once.
    pub instances_max: u32,
    /// Whether the kernel tells which pages were written (`PAGEMAP_SCAN`, Linux 6.7), so that resetting an instance
    /// changes no page table.
    pub pagemap_scan: bool,
}

/// No layout fits this box.
#[derive(Debug, thiserror::Error)]
pub enum ShapeError {
    /// The instances do not fit the address space, however small their slots.
    #[error(
        "{instances_max} instances of {memory_bytes_max} bytes need {needed_bytes} bytes of address space; \
         this process has {available_bytes}: lower worker.instances_max or limits.instance_memory_mib_max"
    )]
    AddressSpace {
        /// As configured.
        instances_max: u32,
        /// As configured.
        memory_bytes_max: u64,
        /// What the smallest layout would take.
        needed_bytes: u64,
        /// What may be used: half of what there is.
        available_bytes: u64,
    },
    /// The instances take more memory maps than a process may have.
    #[error(
        "{instances_max} instances need {needed} memory maps; {available} of those that this box allows a process \
         are for instances: lower worker.instances_max or raise the sysctl vm.max_map_count"
    )]
    Maps {
        /// As configured.
        instances_max: u32,
        /// What they take.
        needed: u64,
        /// What may be used: three quarters of what there is; the rest is for components and the process itself.
        available: u64,
    },
}

impl EngineShape {
    /// The best layout for `instances_max` instances of at least `memory_bytes_max` bytes within
    /// `address_space_bytes`: guard pages where the large slots fit into half of it, else compact slots and bounds
    /// checks in code.
    ///
    /// # Errors
    /// [`ShapeError::AddressSpace`] where not even compact slots fit into half of the address space.
    pub fn fit(
        instances_max: u32,
        memory_bytes_max: u64,
        address_space_bytes: u64,
        pagemap_scan: bool,
    ) -> Result<Self, ShapeError> {
        let available_bytes = address_space_bytes / 2;
        let slots = u64::from(instances_max) + 1;
        let guarded_bytes = slots.saturating_mul(GUARDED_RESERVATION_BYTES + GUARDED_GUARD_BYTES);
        let (memory_reservation_bytes, memory_guard_bytes) = if guarded_bytes <= available_bytes {
            (GUARDED_RESERVATION_BYTES, GUARDED_GUARD_BYTES)
        } else {
            (
                memory_bytes_max.next_multiple_of(64 << 10),
                COMPACT_GUARD_BYTES,
            )
        };
        let needed_bytes = slots.saturating_mul(memory_reservation_bytes + memory_guard_bytes);
        if needed_bytes > available_bytes {
            return Err(ShapeError::AddressSpace {
                instances_max,
                memory_bytes_max,
                needed_bytes,
                available_bytes,
            });
        }
        Ok(Self {
            memory_reservation_bytes,
            memory_guard_bytes,
            memory_bytes_max: memory_reservation_bytes,
            instances_max,
            pagemap_scan,
        })
    }

    /// [`EngineShape::fit`] with the address space and the kernel of this box.
    ///
    /// # Errors
    /// As [`EngineShape::fit`]; [`ShapeError::Maps`] where a worker would not start.
    pub fn for_this_box(instances_max: u32, memory_bytes_max: u64) -> Result<Self, ShapeError> {
        check_maps(instances_max, maps_max())?;
        Self::fit(
            instances_max,
            memory_bytes_max,
            address_space_bytes(),
            pagemap_scan_works(),
        )
    }

    /// Whether out-of-bounds accesses are left to guard pages, at no cost in compute.
    #[must_use]
    pub fn has_guard_pages(&self) -> bool {
        self.memory_reservation_bytes >= GUARDED_RESERVATION_BYTES
    }
}

/// Whether that many instances may be mapped.
fn check_maps(instances_max: u32, maps_max: u64) -> Result<(), ShapeError> {
    let needed = u64::from(instances_max).saturating_mul(MAPS_PER_INSTANCE);
    let available = maps_max / 4 * 3;
    if needed > available {
        return Err(ShapeError::Maps {
            instances_max,
            needed,
            available,
        });
    }
    Ok(())
}

/// How many memory maps a process may have here (proc(5)); the kernel's default where that cannot be read.
fn maps_max() -> u64 {
    std::fs::read_to_string("/proc/sys/vm/max_map_count")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(65_530)
}

/// How much address space a process has here, in bytes: the size of the kernel's user half, judged by where it put
/// our stack, and no more than `RLIMIT_AS`.
fn address_space_bytes() -> u64 {
    let kernel_bytes = std::fs::read_to_string("/proc/self/maps")
        .ok()
        .and_then(|maps| highest_user_address(&maps))
        .map_or(1 << 38, u64::next_power_of_two);
    let limit = rustix::process::getrlimit(rustix::process::Resource::As);
    kernel_bytes.min(limit.current.unwrap_or(u64::MAX))
}

/// The end of the highest mapping below the kernel's own pages.
fn highest_user_address(maps: &str) -> Option<u64> {
    maps.lines()
        .filter(|line| !line.ends_with("[vsyscall]"))
        .filter_map(|line| line.split_once('-')?.1.split_once(' '))
        .filter_map(|(end, _)| u64::from_str_radix(end, 16).ok())
        .max()
}

/// `PAGEMAP_SCAN` came with Linux 6.7.
fn pagemap_scan_works() -> bool {
    let uname = rustix::system::uname();
    uname
        .release()
        .to_str()
        .is_ok_and(|release| kernel_at_least(release, 6, 7))
}

fn kernel_at_least(release: &str, major: u32, minor: u32) -> bool {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(have_major)), Some(Ok(have_minor))) => (have_major, have_minor) >= (major, minor),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// Such a node once came up, and its worker died at each start.
    #[test]
    fn more_instances_than_a_process_may_map_are_refused() {
        assert!(check_maps(12_286, 65_530).is_ok());
        assert_eq!(
            check_maps(20_000, 65_530).unwrap_err().to_string(),
            "20000 instances need 80000 memory maps; 49146 of those that this box allows a process are for instances: \
             lower worker.instances_max or raise the sysctl vm.max_map_count"
        );
    }

    #[test]
    fn a_large_address_space_gets_guard_pages() {
        let shape = EngineShape::fit(1000, 64 * MIB, 1 << 47, true).unwrap();
        assert!(shape.has_guard_pages());
        assert_eq!(shape.memory_bytes_max, 4096 * MIB);
    }

    #[test]
    fn a_39_bit_address_space_gets_compact_slots() {
        let shape = EngineShape::fit(1000, 64 * MIB, 1 << 39, false).unwrap();
        assert!(!shape.has_guard_pages());
        assert_eq!(shape.memory_reservation_bytes, 64 * MIB);
    }

    #[test]
    fn few_instances_keep_guard_pages_even_in_39_bits() {
        assert!(
            EngineShape::fit(60, 64 * MIB, 1 << 39, false)
                .unwrap()
                .has_guard_pages()
        );
    }

    #[test]
    fn what_does_not_fit_is_refused_with_the_figures() {
        let error = EngineShape::fit(100_000, 1 << 30, 1 << 39, false).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("100000 instances of 1073741824 bytes"),
            "{error}"
        );
    }

    #[test]
    fn the_stack_tells_the_address_bits() {
        let maps = "55d0-55d1 r--p 0 00:00 0 /bin/x\n7ffc10000000-7ffc10021000 rw-p 0 00:00 0 [stack]\n\
                    ffffffffff600000-ffffffffff601000 --xp 0 00:00 0 [vsyscall]\n";
        assert_eq!(
            highest_user_address(maps).unwrap().next_power_of_two(),
            1 << 47
        );
        let maps = "7ff1000000-7ff1021000 rw-p 0 00:00 0 [stack]\n";
        assert_eq!(
            highest_user_address(maps).unwrap().next_power_of_two(),
            1 << 39
        );
    }

    #[test]
    fn kernel_releases_compare() {
        assert!(kernel_at_least("6.18.5", 6, 7));
        assert!(kernel_at_least("6.7-rpi", 6, 7));
        assert!(!kernel_at_least("6.1.0-30-amd64", 6, 7));
        assert!(!kernel_at_least("odd", 6, 7));
    }
}
