//! The epoch ticker: what makes a guest that computes give its thread back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use wasmtime::Engine;

/// The longest a guest computes before it yields; also how late a deadline is noticed.
pub const TICK: Duration = Duration::from_millis(2);
/// Ticks without any guest after which the thread sleeps: an idle box is left alone.
const IDLE_TICKS: u32 = 64;

/// Counts running guests; turns the engine's epoch only while there are some.
pub struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
    _join: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    running: AtomicU64,
    asleep: AtomicBool,
}

/// A guest that may run: the ticker is awake while this lives.
pub struct Running {
    shared: Arc<Shared>,
}

impl Ticker {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(engine: &Engine) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let weak = engine.weak();
        let theirs = Arc::clone(&shared);
        let join = std::thread::Builder::new()
            .name("epoch".into())
            .stack_size(128 << 10)
            .spawn(move || {
                let mut idle = 0;
                loop {
                    std::thread::sleep(TICK);
                    let Some(engine) = weak.upgrade() else { return };
                    engine.increment_epoch();
                    drop(engine);
                    idle = if theirs.running.load(Ordering::Relaxed) == 0 {
                        idle + 1
                    } else {
                        0
                    };
                    if idle >= IDLE_TICKS {
                        theirs.asleep.store(true, Ordering::SeqCst);
                        // A guest that started before it could see `asleep` is seen here; one that starts later unparks.
                        while theirs.asleep.load(Ordering::SeqCst)
                            && theirs.running.load(Ordering::SeqCst) == 0
                        {
                            std::thread::park_timeout(Duration::from_secs(60));
                        }
                        theirs.asleep.store(false, Ordering::SeqCst);
                        idle = 0;
                    }
                }
            })?;
        Ok(Self {
            shared,
            thread: join.thread().clone(),
            _join: join,
        })
    }

    /// Announces a guest.
    #[must_use]
    pub fn running(&self) -> Running {
        self.shared.running.fetch_add(1, Ordering::SeqCst);
        if self.shared.asleep.load(Ordering::SeqCst)
            && self.shared.asleep.swap(false, Ordering::SeqCst)
        {
            self.thread.unpark();
        }
        Running {
            shared: Arc::clone(&self.shared),
        }
    }

    /// How many guests are alive.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.shared.running.load(Ordering::Relaxed)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.running.fetch_sub(1, Ordering::SeqCst);
    }
}
