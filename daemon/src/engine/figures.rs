//! What this box has, as far as the pool of instances follows from it.

use serde::Serialize;

/// What a box has that decides how many instances there can be, and how they lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct BoxFigures {
    /// Addresses that a process can use, in bytes: the kernel's user half, or less by `RLIMIT_AS`.
    pub address_space_bytes: u64,
    /// Memory maps that a process may have.
    pub maps_max: u64,
    /// Cores that this process may use.
    pub cores: u32,
    /// The size of a page.
    pub page_bytes: u64,
    /// Whether the kernel has `PAGEMAP_SCAN`.
    pub pagemap_scan: bool,
}

impl BoxFigures {
    /// Those of this box, as they are for this process. Reads small files of the kernel's.
    #[must_use]
    pub fn of_this_box() -> Self {
        let page_bytes = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
        Self {
            address_space_bytes: address_space_bytes(),
            maps_max: maps_max(),
            cores: std::thread::available_parallelism()
                .map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX)),
            page_bytes,
            pagemap_scan: pagemap_scan_works(),
        }
    }
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
