//! Code that only the start of a process needs, given back once it has started.
//!
//! Two processes of one binary map its code twice, and both have run much of it that they never will again: parsing
//! arguments, opening the store, making the engine. Its pages are the file's, so giving them back loses nothing: what is
//! needed after all is mapped again from the page cache when it runs.

use std::io;

use rustix::mm::{Advice, madvise};

/// Where this process's code lies.
#[derive(Debug, Clone, Copy)]
pub struct StartupCode {
    start: usize,
    bytes: usize,
}

impl StartupCode {
    /// Finds it, which must be done while the process may still open files.
    ///
    /// # Errors
    /// If `/proc/self/maps` cannot be read, or does not have the code of this function.
    pub fn find() -> io::Result<Self> {
        let maps = std::fs::read_to_string("/proc/self/maps")?;
        let here = (Self::find as fn() -> io::Result<Self>) as usize;
        code_around(&maps, here)
            .map(|(start, end)| Self {
                start,
                bytes: end - start,
            })
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Gives its pages back. Costs nothing but that the next run of each page's code faults once.
    ///
    /// # Errors
    /// The kernel's refusal; then everything stays as it is.
    #[allow(unsafe_code, reason = "madvise takes an address")]
    pub fn give_back(self) -> io::Result<()> {
        // SAFETY: the range is one mapping of this process's executable file, private, and never writable: a
        // position-independent executable has no relocations in its code. Pages that are dropped hold what the file
        // does, and come back from it; the file cannot be written while it runs (ETXTBSY, execve(2)).
        unsafe {
            madvise(
                std::ptr::with_exposed_provenance_mut(self.start),
                self.bytes,
                Advice::LinuxDontNeed,
            )?;
        }
        Ok(())
    }
}

/// The mapping of code that has this address (proc(5)).
fn code_around(maps: &str, address: usize) -> Option<(usize, usize)> {
    maps.lines().find_map(|line| {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let start = usize::from_str_radix(start, 16).ok()?;
        let end = usize::from_str_radix(end, 16).ok()?;
        let is_code = rest.starts_with("r-xp ");
        (is_code && (start..end).contains(&address)).then_some((start, end))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_that_is_never_written_is_found() {
        let maps = "1000-3000 r--p 0 fe:00 1 /bin/x\n3000-9000 r-xp 2000 fe:00 1 /bin/x\n\
                    9000-a000 rwxp 0 00:00 0 \na000-b000 rw-p 0 00:00 0 [heap]\n";
        assert_eq!(code_around(maps, 0x3000), Some((0x3000, 0x9000)));
        for other in [0x1000, 0x9000, 0xa000, 0xb000] {
            assert_eq!(code_around(maps, other), None);
        }
    }

    #[test]
    fn what_was_given_back_runs_again() {
        let code = StartupCode::find().unwrap();
        assert!(code.bytes > 0);
        code.give_back().unwrap();
        assert_eq!(code_around("", 1), None);
    }
}
