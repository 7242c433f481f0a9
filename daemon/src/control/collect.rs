//! Removing files that nothing refers to any more.

use std::sync::{Arc, PoisonError};

use edge_config::Digest;

use super::Control;
use super::state::NameArtifacts;
use crate::logging;

/// An upload that has not committed yet: nothing of its component is collected until this is dropped.
pub(super) struct Publishing<'a> {
    control: &'a Control,
    digest: Digest,
}

impl Drop for Publishing<'_> {
    fn drop(&mut self) {
        let mut publishing = self
            .control
            .publishing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = publishing.get_mut(&self.digest) {
            *count -= 1;
            if *count == 0 {
                publishing.remove(&self.digest);
            }
        }
    }
}

impl Control {
    /// Keeps the artifact of an upload's component.
    pub(super) fn publishing(&self, digest: Digest) -> Publishing<'_> {
        {
            let mut publishing = self
                .publishing
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            *publishing.entry(digest).or_default() += 1;
        }
        // Whoever makes room knows artifacts by their names only. Named after it is noted above: a collection keeps
        // the names of what is noted.
        self.artifact_of(&digest);
        Publishing {
            control: self,
            digest,
        }
    }

    /// Whether an upload that has not committed yet brings this component.
    pub(super) fn is_publishing(&self, digest: &Digest) -> bool {
        self.publishing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains_key(digest)
    }

    /// Has components and artifacts that nothing refers to removed before long.
    pub(super) fn collect_soon(&self) {
        self.collect.notify_one();
    }

    /// Collects at start and whenever asked, one collection at a time. Ends when dropped.
    pub(super) async fn collect_when_asked(self: Arc<Self>) {
        loop {
            let me = Arc::clone(&self);
            if let Err(error) = tokio::task::spawn_blocking(move || me.collect_now()).await {
                tracing::error!(%error, "a collection of files did not end well");
            }
            self.collect.notified().await;
        }
    }

    fn collect_now(&self) {
        // The lock of changes is not held: a lease covers what an upload has named and not committed yet.
        let referenced = || self.read().referenced().copied().collect();
        match self.blobs.collect(referenced) {
            Ok(collected) if collected.removed > 0 => {
                tracing::info!(
                    removed = collected.removed,
                    bytes = collected.removed_bytes,
                    "components removed"
                );
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(
                error = logging::chain(&error),
                "components could not be removed"
            ),
        }
        {
            // The cache asks by name, and a node that just started has not named what no route serves.
            let state = self.read();
            for digest in state.referenced() {
                self.artifact_of(digest);
            }
        }
        // Asked for each artifact at the moment at which it would go, not before: an upload may have come since.
        match self
            .cache
            .drop_unreferenced(&|name| self.artifact_is_referenced(name))
        {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "artifacts removed"),
            Err(error) => tracing::warn!(%error, "artifacts could not be removed"),
        }
        self.forget_names();
    }

    /// Forgets the names of artifacts that nothing stands on.
    fn forget_names(&self) {
        let state = self.read();
        let publishing = self
            .publishing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.artifact_names
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|_, digest| publishing.contains_key(digest) || state.references(digest));
    }
}
