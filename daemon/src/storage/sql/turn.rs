//! Whose turn it is to compute: one statement of a tenant at a time, first come first served.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A lock that is handed on in the order of asking, and that its holder offers to those who wait.
#[derive(Debug, Default)]
pub(super) struct Turn {
    numbers: Mutex<Numbers>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Numbers {
    /// The next to be given out.
    next: u64,
    /// Whose turn it is.
    served: u64,
}

impl Turn {
    /// Waits for a turn. Ended by [`Self::give_up`].
    pub(super) fn take(&self) {
        let mut numbers = self.numbers();
        let own = numbers.next;
        numbers.next += 1;
        while numbers.served != own {
            let waited = self.changed.wait(numbers);
            numbers = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends the caller's turn.
    pub(super) fn give_up(&self) {
        self.numbers().served += 1;
        // At most as many as there are connections wait.
        self.changed.notify_all();
    }

    /// Lets those who wait have theirs first, where there are any.
    pub(super) fn offer(&self) {
        let numbers = self.numbers();
        let is_wanted = numbers.next > numbers.served + 1;
        drop(numbers);
        if is_wanted {
            self.give_up();
            self.take();
        }
    }

    fn numbers(&self) -> MutexGuard<'_, Numbers> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
