//! Removing files that nothing refers to any more.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError};

use edge_config::Digest;

use super::Control;
use super::state::NameArtifacts;
use crate::link::ArtifactName;
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
        let mut publishing = self
            .publishing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *publishing.entry(digest).or_default() += 1;
        Publishing {
            control: self,
            digest,
        }
    }

    /// The components of uploads that have not committed yet.
    pub(super) fn publishing_now(&self) -> Vec<Digest> {
        self.publishing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .keys()
            .copied()
            .collect()
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
        let artifacts: HashSet<ArtifactName> = {
            let state = self.read();
            state
                .referenced()
                .map(|digest| self.artifact_of(digest))
                .collect()
        };
        match self
            .cache
            .drop_unreferenced(&|name| artifacts.contains(name))
        {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "artifacts removed"),
            Err(error) => tracing::warn!(%error, "artifacts could not be removed"),
        }
        self.artifact_names
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|name, _| artifacts.contains(name));
    }
}
