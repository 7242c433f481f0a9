//! Whether an idle node's disk still takes writes.
//!
//! A disk that died shows only when it is written to, and a node that serves and is not changed never does. A small
//! commit now and then finds out while there is time to act: readiness follows [`Store::health`].

use std::time::Duration;

use super::error::chain;
use super::{Health, Store, Transaction};

impl Store {
    /// Commits nothing but the time, as `now_s` has it in seconds since 1970-01-01 UTC, once in every `every`. Returns
    /// when the store has failed: it is not asked again before it is opened anew.
    ///
    /// # Cancel safety
    /// As for [`Store::commit`]; what may be lost is one recorded time.
    pub async fn ask_disk_every(&self, every: Duration, now_s: impl Fn() -> u64) {
        while self.health() == Health::Working {
            tokio::time::sleep(every).await;
            let asked = Transaction {
                known_good_time_s: Some(now_s()),
                ..Transaction::default()
            };
            if let Err(error) = self.commit(asked).await {
                tracing::error!(error = chain(&error), "the store's disk takes no writes");
            }
        }
    }
}
