//! Who may compile now, and how many are before the others.
//!
//! First come, first served, with a bound on those who wait; what is served already and must be compiled again comes
//! before what is new. Dry runs have a queue of their own, so that they never
//! wait behind a long compilation.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// A bounded queue in front of work of which only so much may run at once. Cloning shares it.
#[derive(Debug, Clone)]
pub struct CompileQueue {
    line: Arc<Mutex<Line>>,
    waiting_max: usize,
}

/// The queue has reached its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{waiting_max} uploads wait to be compiled already, which is the most this node lets wait")]
pub struct QueueFull {
    /// The bound.
    pub waiting_max: usize,
}

/// A place in the queue. Dropping it gives it up.
#[derive(Debug)]
pub struct Ticket {
    place: Place,
    position: watch::Receiver<usize>,
}

/// The right to work, until dropped.
#[derive(Debug)]
#[must_use = "the next in line starts when this is dropped"]
pub struct Turn {
    _place: Place,
}

#[derive(Debug)]
struct Line {
    at_once: usize,
    next_id: u64,
    running: Vec<u64>,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    id: u64,
    position: watch::Sender<usize>,
    is_first: bool,
}

/// Leaves the line on drop, wherever in it.
#[derive(Debug)]
struct Place {
    id: u64,
    line: Arc<Mutex<Line>>,
}

impl CompileQueue {
    /// Lets `at_once` work, at least one, and `waiting_max` wait.
    #[must_use]
    pub fn new(at_once: usize, waiting_max: usize) -> Self {
        let line = Line {
            at_once: at_once.max(1),
            next_id: 0,
            running: Vec::new(),
            waiting: VecDeque::new(),
        };
        Self {
            line: Arc::new(Mutex::new(line)),
            waiting_max,
        }
    }

    /// Takes the last place.
    ///
    /// # Errors
    /// [`QueueFull`] if as many wait as may.
    pub fn enqueue(&self) -> Result<Ticket, QueueFull> {
        let mut line = lock(&self.line);
        let may_start = line.running.len() < line.at_once && line.waiting.is_empty();
        if !may_start && line.behind() >= self.waiting_max {
            return Err(QueueFull {
                waiting_max: self.waiting_max,
            });
        }
        let end = line.waiting.len();
        Ok(self.wait_at(&mut line, end, false))
    }

    /// Takes the place before all that came by [`CompileQueue::enqueue`], behind those that came this way. Not bounded
    /// here: the caller asks once for each of a bounded number of things.
    #[must_use]
    pub fn enqueue_first(&self) -> Ticket {
        let mut line = lock(&self.line);
        let end = line.waiting.len() - line.behind();
        self.wait_at(&mut line, end, true)
    }

    fn wait_at(&self, line: &mut Line, index: usize, is_first: bool) -> Ticket {
        let id = line.next_id;
        line.next_id += 1;
        let (sender, position) = watch::channel(usize::MAX);
        line.waiting.insert(
            index,
            Waiting {
                id,
                position: sender,
                is_first,
            },
        );
        line.advance();
        Ticket {
            place: Place {
                id,
                line: Arc::clone(&self.line),
            },
            position,
        }
    }

    /// How many work and how many wait.
    #[must_use]
    pub fn depth(&self) -> (usize, usize) {
        let line = lock(&self.line);
        (line.running.len(), line.waiting.len())
    }
}

impl Ticket {
    /// How many are before this one: 0 once it may work, 1 for the first that waits.
    #[must_use]
    pub fn position(&self) -> usize {
        *self.position.borrow()
    }

    /// [`Ticket::position`] as it changes; ends when the ticket does.
    #[must_use]
    pub fn positions(&self) -> watch::Receiver<usize> {
        self.position.clone()
    }

    /// Waits for its turn.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the place.
    pub async fn turn(mut self) -> Turn {
        // The sender is dropped only after it said 0.
        let _ = self.position.wait_for(|position| *position == 0).await;
        Turn { _place: self.place }
    }
}

impl Line {
    /// How many wait that did not come first.
    fn behind(&self) -> usize {
        let behind = self.waiting.iter().filter(|waiting| !waiting.is_first);
        behind.count()
    }

    /// Starts whom it can, and tells the rest where they are now.
    fn advance(&mut self) {
        while self.running.len() < self.at_once {
            let Some(next) = self.waiting.pop_front() else {
                return;
            };
            self.running.push(next.id);
            next.position.send_replace(0);
        }
        for (before, waiting) in self.waiting.iter().enumerate() {
            waiting.position.send_replace(before + 1);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut line = lock(&self.line);
        line.running.retain(|id| *id != self.id);
        line.waiting.retain(|waiting| waiting.id != self.id);
        line.advance();
    }
}

/// Every change under the lock is whole before anything in it could panic.
fn lock(line: &Mutex<Line>) -> MutexGuard<'_, Line> {
    line.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn turns_come_in_order_and_positions_say_so() {
        let queue = CompileQueue::new(1, 3);
        let [a, b, c] = [(); 3].map(|()| queue.enqueue().unwrap());
        assert_eq!([a.position(), b.position(), c.position()], [0, 1, 2]);
        assert_eq!(queue.depth(), (1, 2));
        let a = a.turn().now_or_never().unwrap();
        let mut positions = b.positions();
        let mut b = Box::pin(b.turn());
        assert!((&mut b).now_or_never().is_none());
        drop(a);
        assert!(b.now_or_never().is_some());
        assert_eq!(*positions.borrow_and_update(), 0);
        // `b`'s turn is over with the value dropped above.
        assert_eq!(c.position(), 0);
    }

    #[test]
    fn whoever_gives_up_lets_the_others_move_up() {
        let queue = CompileQueue::new(1, 3);
        let [a, b, c, d] = [(); 4].map(|()| queue.enqueue().unwrap());
        drop(b);
        assert_eq!([c.position(), d.position()], [1, 2]);
        drop(a);
        assert_eq!([c.position(), d.position()], [0, 1]);
        let waiting = Box::pin(d.turn());
        drop(waiting);
        assert_eq!(queue.depth(), (1, 0));
    }

    #[test]
    fn what_comes_first_neither_waits_behind_the_others_nor_counts_among_them() {
        let queue = CompileQueue::new(1, 2);
        let [running, a, b] = [(); 3].map(|()| queue.enqueue().unwrap());
        let [first, second] = [(); 2].map(|()| queue.enqueue_first());
        assert!(queue.enqueue().is_err());
        let positions = [&running, &first, &second, &a, &b].map(Ticket::position);
        assert_eq!(positions, [0, 1, 2, 3, 4]);
        drop(b);
        assert!(queue.enqueue().is_ok());
        drop(running);
        assert_eq!([&first, &second, &a].map(Ticket::position), [0, 1, 2]);
    }

    #[test]
    fn as_many_wait_as_may_and_no_more() {
        let queue = CompileQueue::new(2, 1);
        let tickets = [(); 3].map(|()| queue.enqueue().unwrap());
        assert_eq!(queue.enqueue().unwrap_err(), QueueFull { waiting_max: 1 });
        drop(tickets);
        assert_eq!(queue.depth(), (0, 0));
        assert!(queue.enqueue().is_ok());
    }

    #[test]
    fn without_room_to_wait_work_still_starts() {
        let queue = CompileQueue::new(1, 0);
        let turn = queue.enqueue().unwrap().turn().now_or_never().unwrap();
        assert!(queue.enqueue().is_err());
        drop(turn);
        assert!(queue.enqueue().is_ok());
    }
}
