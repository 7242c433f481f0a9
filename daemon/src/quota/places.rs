//! Places among a tenant's requests, and the queue before them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// The places of one tenant: a bounded number, and a bounded queue of requests that wait for one, first come first
/// served.
#[derive(Debug, Default)]
pub struct Places {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    taken: u64,
    most: u64,
    waiting: VecDeque<oneshot::Sender<Place>>,
}

/// A place, given to the next in the queue when dropped.
#[derive(Debug)]
pub struct Place {
    places: Option<Arc<Places>>,
}

/// What [`Places::take`] gives.
#[derive(Debug)]
pub enum Taken {
    /// There was one.
    Now(Place),
    /// There will be, when those before have theirs. Dropping it leaves the queue.
    Later(oneshot::Receiver<Place>),
    /// Places and queue are full.
    Full,
}

impl Places {
    /// Takes a place, or one in the queue. `most` places and `waiting_max` in the queue is what holds now.
    #[must_use]
    pub fn take(self: &Arc<Self>, most: u64, waiting_max: u64) -> Taken {
        let mut state = self.state();
        state.most = most;
        if state.taken < most && state.waiting.is_empty() {
            state.taken += 1;
            return Taken::Now(self.place());
        }
        if state.waiting.len() as u64 >= waiting_max {
            // Those who gave up count only until somebody needs their place in the queue.
            state.waiting.retain(|waiting| !waiting.is_closed());
            if state.waiting.len() as u64 >= waiting_max {
                return Taken::Full;
            }
        }
        let (sender, receiver) = oneshot::channel();
        state.waiting.push_back(sender);
        Taken::Later(receiver)
    }

    /// Replaces the number of places: who waits gets what became free.
    pub fn set_most(self: &Arc<Self>, most: u64) {
        self.state().most = most;
        loop {
            let next = {
                let mut state = self.state();
                if state.taken >= state.most {
                    return;
                }
                let Some(next) = state.waiting.pop_front() else {
                    return;
                };
                state.taken += 1;
                next
            };
            // Unlocked: a place that nobody takes is given back by its drop.
            drop(next.send(self.place()));
        }
    }

    /// `(taken, waiting)` now.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        let state = self.state();
        let waiting = state
            .waiting
            .iter()
            .filter(|waiting| !waiting.is_closed())
            .count();
        (state.taken, waiting as u64)
    }

    fn place(self: &Arc<Self>) -> Place {
        Place {
            places: Some(Arc::clone(self)),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(places) = self.places.take() else {
            return;
        };
        loop {
            let next = {
                let mut state = places.state();
                // Fewer places than before: this one is not given on.
                let next = if state.taken <= state.most {
                    state.waiting.pop_front()
                } else {
                    None
                };
                let Some(next) = next else {
                    state.taken -= 1;
                    return;
                };
                next
            };
            let Err(mut unwanted) = next.send(places.place()) else {
                return;
            };
            // Whoever it was has gone: the next one gets it, here and not by a drop within a drop.
            unwanted.places = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn now(taken: Taken) -> Place {
        match taken {
            Taken::Now(place) => place,
            other => panic!("{other:?}"),
        }
    }

    fn later(taken: Taken) -> oneshot::Receiver<Place> {
        match taken {
            Taken::Later(receiver) => receiver,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_queue_is_first_come_first_served_and_bounded() {
        let places = Arc::new(Places::default());
        let place = now(places.take(1, 2));
        let (mut first, mut second) = (later(places.take(1, 2)), later(places.take(1, 2)));
        assert!(matches!(places.take(1, 2), Taken::Full));
        drop(place);
        let place = first.try_recv().unwrap();
        assert!(second.try_recv().is_err());
        drop(place);
        assert!(second.try_recv().is_ok());
        assert_eq!(places.counts(), (0, 0));
    }

    #[test]
    fn who_gave_up_is_passed_over() {
        let places = Arc::new(Places::default());
        let place = now(places.take(1, 1));
        drop(later(places.take(1, 1)));
        let mut patient = later(places.take(1, 1));
        drop(place);
        assert!(patient.try_recv().is_ok());
    }

    #[test]
    fn more_places_let_the_queue_in_and_fewer_wait_for_the_end_of_requests() {
        let places = Arc::new(Places::default());
        let held = now(places.take(1, 9));
        let mut waiting: Vec<_> = (0..3).map(|_| later(places.take(1, 9))).collect();
        places.set_most(3);
        let more: Vec<_> = waiting
            .drain(..2)
            .map(|mut got| got.try_recv().unwrap())
            .collect();
        assert_eq!(places.counts(), (3, 1));
        places.set_most(1);
        drop(more);
        assert!(waiting[0].try_recv().is_err());
        drop(held);
        assert!(waiting[0].try_recv().is_ok());
    }

    proptest! {
        #[test]
        fn never_more_than_there_are_and_none_lost(steps in prop::collection::vec((0u8..4, 0usize..8), 1..200)) {
            let places = Arc::new(Places::default());
            let (mut held, mut waiting) = (Vec::new(), Vec::new());
            for (what, at) in steps {
                match what {
                    0 | 1 => match places.take(3, 4) {
                        Taken::Now(place) => held.push(place),
                        Taken::Later(receiver) => waiting.push(receiver),
                        Taken::Full => prop_assert!(held.len() == 3),
                    },
                    2 if at < held.len() => drop(held.swap_remove(at)),
                    3 if at < waiting.len() => drop(waiting.swap_remove(at)),
                    _ => {}
                }
                let (got, still): (Vec<_>, Vec<_>) =
                    waiting.drain(..).map(|mut receiver| (receiver.try_recv().ok(), receiver)).partition(|(place, _)| place.is_some());
                held.extend(got.into_iter().filter_map(|(place, _)| place));
                waiting.extend(still.into_iter().map(|(_, receiver)| receiver));
                prop_assert!(held.len() <= 3);
                prop_assert_eq!(places.counts(), (held.len() as u64, waiting.len() as u64));
                prop_assert!(waiting.is_empty() || held.len() == 3, "somebody waits while a place is free");
            }
        }
    }
}
