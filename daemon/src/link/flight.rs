//! The flight record: whose guest each thread of a worker was running when the worker died.
//!
//! A file in memory that control makes for each worker and passes along with the start message. The worker maps it and
//! writes to it before and after it lets a guest run: two stores to memory. It outlives the worker, and control reads it
//! then. Not a secret and no evidence: a guest that has taken over the worker can write what it likes there.
//!
//! Tenants are written as marks, numbers that control can make of a name as well: no table has to be kept in step.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicU64, Ordering, compiler_fence};

use aws_lc_rs::digest::{SHA256, digest};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap};

/// Threads that have a seat; those beyond write nothing.
pub const SEATS: usize = 256;
/// One seat: a line of the cache, so that threads do not slow each other.
const SEAT_BYTES: usize = 64;
const RECORD_BYTES: usize = SEATS * SEAT_BYTES;
/// In [`Seat::mark`]: no guest runs.
const NOBODY: u64 = 0;

/// A tenant in the record: a number made of its name, the same in every process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TenantMark(u64);

impl TenantMark {
    /// Of a tenant's name. Two names of a node share a mark with a chance of 1 in 2^64; both would be named.
    #[must_use]
    pub fn of(tenant: &str) -> Self {
        let hash = digest(&SHA256, tenant.as_bytes());
        let mut first = [0; 8];
        for (to, from) in first.iter_mut().zip(hash.as_ref()) {
            *to = *from;
        }
        Self(u64::from_ne_bytes(first).max(1))
    }
}

/// What one seat said when the worker died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seated {
    /// Whose guest ran.
    pub tenant: TenantMark,
    /// Whether it was this thread whose fault or abort ended the worker.
    pub crashed: bool,
}

/// Control's end.
#[derive(Debug)]
pub struct FlightRecorder(File);

impl FlightRecorder {
    /// A record that says nothing yet.
    ///
    /// # Errors
    /// If the kernel has no room for it.
    pub fn new() -> io::Result<Self> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = memfd_create("littoral-flight-record", flags)?;
        ftruncate(&file, RECORD_BYTES as u64)?;
        // A record that could shrink under its mapping would be a way to kill whoever looks.
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        Ok(Self(file.into()))
    }

    /// The seats of threads that were running a guest.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn read(&self) -> io::Result<Vec<Seated>> {
        let mut bytes = vec![0; RECORD_BYTES];
        self.0.read_exact_at(&mut bytes, 0)?;
        let word = |bytes: &[u8], at: usize| {
            let bytes = bytes.get(at..).and_then(<[u8]>::first_chunk);
            bytes.map_or(NOBODY, |bytes| u64::from_ne_bytes(*bytes))
        };
        Ok(bytes
            .chunks_exact(SEAT_BYTES)
            .map(|seat| (word(seat, 0), word(seat, 8) != 0))
            .filter(|(mark, _)| *mark != NOBODY)
            .map(|(mark, crashed)| Seated {
                tenant: TenantMark(mark),
                crashed,
            })
            .collect())
    }
}

impl AsFd for FlightRecorder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A worker's end: the record, mapped for as long as the process lives.
#[derive(Debug, Clone, Copy)]
pub struct FlightRecord(&'static [Seat]);

/// Where one thread writes.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Seat {
    mark: AtomicU64,
    crashed: AtomicU64,
}

const _: () = assert!(size_of::<Seat>() == SEAT_BYTES);

thread_local! {
    static SEAT: Cell<Option<&'static Seat>> = const { Cell::new(None) };
}

impl FlightRecord {
    /// Maps what control passed.
    ///
    /// # Errors
    /// If it is no flight record, or cannot be mapped.
    #[allow(
        unsafe_code,
        reason = "memory that outlives this process has to be mapped; the library call for it is unsafe"
    )]
    pub fn map(file: OwnedFd) -> io::Result<Self> {
        let file = File::from(file);
        if file.metadata()?.len() != RECORD_BYTES as u64 {
            return Err(io::Error::other("control passed no flight record"));
        }
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses the address, so nothing that is mapped is replaced.
        let memory = unsafe {
            mmap(
                std::ptr::null_mut(),
                RECORD_BYTES,
                protection,
                MapFlags::SHARED,
                &file,
                0,
            )
        }?;
        // SAFETY: the mapping is readable and writable, RECORD_BYTES long, aligned to a page, and never undone, which
        // makes it 'static. Its file is sealed against shrinking by control, so that no page of it can go away. It is
        // full of zeros or what other `Seat`s wrote, and any bytes are valid for the two atomics that a seat is made of
        // (the rest is padding); whoever else has the file mapped or open can change it only under those atomics.
        let seats = unsafe { std::slice::from_raw_parts(memory.cast::<Seat>(), SEATS) };
        Ok(Self(seats))
    }

    /// Gives the calling thread the seat of this number, if there is one.
    pub fn take_seat(self, number: usize) {
        SEAT.set(self.0.get(number));
    }
}

/// A guest runs on this thread until this is dropped.
#[must_use]
#[derive(Debug)]
pub struct GuestRuns(Option<&'static Seat>);

/// Writes down whose guest this thread is about to run.
pub fn guest_runs(tenant: TenantMark) -> GuestRuns {
    let seat = SEAT.get();
    if let Some(seat) = seat {
        seat.mark.store(tenant.0, Ordering::Relaxed);
        // The thread may be ended by what follows, so the store must not be put off until after it. No other thread
        // waits for it: nothing is ordered between processors.
        compiler_fence(Ordering::SeqCst);
    }
    GuestRuns(seat)
}

impl Drop for GuestRuns {
    fn drop(&mut self) {
        if let Some(seat) = self.0 {
            compiler_fence(Ordering::SeqCst);
            seat.mark.store(NOBODY, Ordering::Relaxed);
        }
    }
}

/// Marks the calling thread as the one that ends the process. Of use in a signal handler: it only stores.
pub(crate) fn this_thread_crashed() {
    if let Some(seat) = SEAT.get() {
        seat.crashed.store(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_says_who_runs_where_and_outlives_its_writer() {
        let recorder = FlightRecorder::new().unwrap();
        let record = FlightRecord::map(recorder.0.try_clone().unwrap().into()).unwrap();
        assert_eq!(recorder.read().unwrap(), []);
        let (acme, bolt) = (TenantMark::of("acme"), TenantMark::of("bolt"));
        assert_ne!(acme, bolt);
        let leaves_amid_a_guest = std::thread::spawn(move || {
            record.take_seat(255);
            std::mem::forget(guest_runs(bolt));
            this_thread_crashed();
        });
        leaves_amid_a_guest.join().unwrap();
        record.take_seat(0);
        let runs = guest_runs(acme);
        let seated = |tenant, crashed| Seated { tenant, crashed };
        let both = [seated(acme, false), seated(bolt, true)];
        assert_eq!(recorder.read().unwrap(), both);
        drop(runs);
        assert_eq!(recorder.read().unwrap(), [seated(bolt, true)]);
    }

    #[test]
    fn a_thread_without_a_seat_writes_nothing_and_a_file_of_another_length_is_refused() {
        let recorder = FlightRecorder::new().unwrap();
        let record = FlightRecord::map(recorder.0.try_clone().unwrap().into()).unwrap();
        record.take_seat(SEATS);
        let _runs = guest_runs(TenantMark::of("acme"));
        assert_eq!(recorder.read().unwrap(), []);
        let other = tempfile::tempfile().unwrap();
        assert!(FlightRecord::map(other.into()).is_err());
    }
}
