//! Whether the loops that keep a node running still turn: each is asked, and answers where it turns.
//!
//! A timer of its own would go on ticking beside a loop that hangs.

use tokio::sync::watch;

/// One loop, as others see it.
#[derive(Debug)]
pub(in crate::control) struct Pulse {
    name: &'static str,
    asked: watch::Sender<u64>,
    answered: watch::Sender<u64>,
}

/// The loop's own side.
#[derive(Debug)]
pub(in crate::control) struct Beat<'a> {
    pulse: &'a Pulse,
    asked: watch::Receiver<u64>,
}

impl Pulse {
    /// Of the loop of this name.
    pub(in crate::control) fn of(name: &'static str) -> Self {
        Self {
            name,
            asked: watch::Sender::new(0),
            answered: watch::Sender::new(0),
        }
    }

    /// What the loop is called in the log.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// For the loop to answer with. One that begins after it was asked still answers.
    pub(in crate::control) fn beat(&self) -> Beat<'_> {
        let mut asked = self.asked.subscribe();
        asked.mark_changed();
        Beat { pulse: self, asked }
    }

    /// Asks, and waits until the loop has answered.
    ///
    /// # Cancel safety
    /// May be dropped at any time; the answer to a question that nobody waits for is lost.
    pub(super) async fn felt(&self) {
        let mut question = 0;
        self.asked.send_modify(|asked| {
            *asked = asked.wrapping_add(1);
            question = *asked;
        });
        // The sender lives as long as `self`.
        let _ = self
            .answered
            .subscribe()
            .wait_for(|answer| *answer == question)
            .await;
    }
}

impl Beat<'_> {
    /// Waits until the loop is asked, and answers. To be selected on wherever the loop waits.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    pub(in crate::control) async fn when_asked(&mut self) {
        // The sender lives as long as the pulse that is borrowed here.
        if self.asked.changed().await.is_ok() {
            let question = *self.asked.borrow_and_update();
            self.pulse.answered.send_replace(question);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_turns_answers_and_one_that_hangs_does_not() {
        let pulse = Pulse::of("test");
        let patience = Duration::from_secs(60);
        let asks = async || tokio::time::timeout(patience, pulse.felt()).await.is_ok();
        assert!(!asks().await, "nobody turns");
        let mut beat = pulse.beat();
        let turning = async {
            loop {
                beat.when_asked().await;
            }
        };
        tokio::select! {
            () = turning => unreachable!("it turns for ever"),
            felt = asks() => assert!(felt),
        }
        assert!(!asks().await, "it has stopped turning");
        let mut again = pulse.beat();
        let (felt, ()) = tokio::join!(asks(), async {
            // The question that nobody waited for, and perhaps with it this one.
            again.when_asked().await;
            let _ = tokio::time::timeout(Duration::from_secs(1), again.when_asked()).await;
        });
        assert!(felt, "it turns again");
    }
}
