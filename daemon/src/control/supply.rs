//! Artifacts for the worker: verified, or made again from the stored component.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, PoisonError};

use control_api::error::PlaneError;
use control_api::statement::SignedStatement;
use edge_config::Digest;
use rustix::fs::{Mode, fchmod, fchown, fstat};
use rustix::process::{Gid, Signal, geteuid};

use super::state::VersionDetails;
use super::supervise::Home;
use super::{Control, blocking, internal, views};
use crate::artifact::cache::ArtifactError;
use crate::confine::InForce;
use crate::link::flight::Seated;
use crate::link::signing::SignRequest;
use crate::link::{ArtifactName, GuestLine, Supplied, TableChange, WorkerReport};
use crate::metrics::ArtifactState;

impl Home for Control {
    fn whole_table(&self) -> (u64, Vec<TableChange>) {
        let state = self.read();
        let mut changes = state.table(self);
        changes.extend(self.resting_tenants());
        (state.seq, changes)
    }

    fn artifact_needed(self: Arc<Self>, name: ArtifactName) {
        let first = self
            .supplying
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name);
        // The answer to the first need is the answer to all of them.
        if first {
            let tracker = self.tracker.clone();
            tracker.spawn(async move {
                let file = self.supply(name).await;
                self.supplying
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .remove(&name);
                if let Err(error) = &file {
                    tracing::warn!(%error, "an artifact cannot be supplied");
                }
                self.supervisor
                    .artifact(name, file.map_err(|error| error.to_string()));
            });
        }
    }

    fn reported(&self, report: WorkerReport, serves: bool) {
        self.take_report(&report, serves);
    }

    fn sign(&self, request: &SignRequest) -> Option<Vec<u8>> {
        self.sign_handshake(request)
    }

    fn lines(&self, lines: Vec<GuestLine>) {
        self.take_lines(lines);
    }

    fn worker_crashed(&self, signal: Signal, seats: &[Seated]) {
        self.take_crash(signal, seats);
    }

    fn worker_started(&self, pid: u32) {
        self.metrics.worker_started(pid);
    }

    fn worker_changed(&self, worker: Option<InForce>) {
        match worker {
            Some(in_force) => {
                self.metrics.worker_confined(in_force);
                self.metrics.worker_ready(true);
            }
            None => {
                self.metrics.worker_ready(false);
                self.metrics.worker_gone();
                self.meter.worker_gone(std::time::Instant::now());
            }
        }
    }

    fn serve_calls(self: Arc<Self>, socket: UnixStream) -> io::Result<()> {
        Control::serve_calls(&self, socket)
    }

    fn worker_restarted(&self) {
        self.metrics.worker_restarted();
    }
}

impl Control {
    /// The open, verified file of an artifact; compiled again where it is missing or bad.
    async fn supply(&self, name: ArtifactName) -> Result<Supplied, PlaneError> {
        let digest = self.component_of(&name)?;
        let artifact = OwnedFd::from(self.artifact(name, digest).await?);
        let (blobs, named) = (self.blobs.clone(), digest);
        let upload = blocking(move || blobs.with_files(&named))
            .await?
            .map_err(|error| internal(&error))?;
        Ok(Supplied {
            artifact,
            upload: upload.map(OwnedFd::from),
        })
    }

    async fn artifact(&self, name: ArtifactName, digest: Digest) -> Result<File, PlaneError> {
        match self.open(name, digest).await? {
            Ok(file) => Ok(file),
            Err(error) => {
                let found = match error {
                    ArtifactError::Missing => ArtifactState::Missing,
                    ArtifactError::Tampered { .. } => ArtifactState::Tampered,
                    ArtifactError::Truncated => ArtifactState::Truncated,
                    ArtifactError::OtherEngine => ArtifactState::Outdated,
                    ArtifactError::Io(_) => return Err(internal(&error)),
                };
                self.metrics.artifact(found);
                tracing::warn!(%digest, state = found.word(), "compiling an artifact again");
                self.compile_again(&digest).await?;
                self.metrics.artifact(ArtifactState::Recompiled);
                self.open(name, digest)
                    .await?
                    .map_err(|error| internal(&error))
            }
        }
    }

    async fn open(
        &self,
        name: ArtifactName,
        digest: Digest,
    ) -> Result<Result<File, ArtifactError>, PlaneError> {
        let cache = Arc::clone(&self.cache);
        // What the worker became, which is not always what it was told to become. Its first needs overtake its word of it.
        let user = self.supervisor.worker_user().await;
        let group = Some(user).filter(|user| *user != geteuid().as_raw());
        blocking(move || {
            let file = cache.open_verified(&name, &digest)?;
            if let Some(group) = group {
                let_read(&file, Gid::from_raw(group)).map_err(ArtifactError::Io)?;
            }
            Ok(file)
        })
        .await
    }

    /// From the stored component, whose digest and statement are checked as they were when it was accepted.
    async fn compile_again(&self, digest: &Digest) -> Result<(), PlaneError> {
        self.check_statement_again(digest)?;
        let (blobs, named) = (self.blobs.clone(), *digest);
        let component = blocking(move || blobs.open_verified(&named))
            .await?
            .map_err(|error| internal(&error))?;
        let bytes = component
            .metadata()
            .map_err(|error| internal(&error))?
            .len();
        // Requests wait for it: before the uploads that wait, however many do.
        let turn = self.compile_queue.enqueue_first().turn().await;
        // Its tenants' limits were asked when it was accepted.
        self.compile(&component, bytes, digest, u64::MAX).await?;
        drop(turn);
        Ok(())
    }

    /// Whether some kept version's statement still verifies for this digest, by the key that verified it then. Its
    /// expiry is not asked for: it was for the upload.
    fn check_statement_again(&self, digest: &Digest) -> Result<(), PlaneError> {
        let state = self.read();
        let (tenant, module, version) =
            state
                .any_version_of(digest)
                .ok_or_else(|| PlaneError::Internal {
                    inside: format!("no version stands on {digest}"),
                })?;
        let details: VersionDetails =
            postcard::from_bytes(&version.details).map_err(|error| internal(&error))?;
        let jwk = views::jwk(&version.kid, &details.publisher_key);
        let statement = SignedStatement::parse(&version.statement)?.verify(&version.kid, &jwk)?;
        statement.check_place(tenant, module)?;
        if statement.digest != *digest || statement.version != version.version {
            return Err(PlaneError::DigestMismatch {
                stated: statement.digest,
                actual: *digest,
            });
        }
        Ok(())
    }

    fn component_of(&self, name: &ArtifactName) -> Result<Digest, PlaneError> {
        let names = self
            .artifact_names
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        names
            .get(name)
            .copied()
            .ok_or_else(|| PlaneError::Internal {
                inside: "a worker asked for an artifact that no table named".to_owned(),
            })
    }

    /// Whether a kept version, or an upload under way, stands on this artifact.
    pub(super) fn artifact_is_referenced(&self, name: &ArtifactName) -> bool {
        let Ok(digest) = self.component_of(name) else {
            return false;
        };
        // In this order: an upload that ends in between has committed.
        self.is_publishing(&digest) || self.read().references(&digest)
    }
}

/// Lets the worker's group read an artifact: the worker opens it once more, through its own descriptor, to map it, and
/// is another user than its owner. Nobody else gets at it, since the folder is closed to all but its owner.
fn let_read(file: &File, group: Gid) -> io::Result<()> {
    let stat = fstat(file)?;
    let mode = Mode::RUSR | Mode::RGRP;
    if stat.st_gid != group.as_raw() {
        fchown(file, None, Some(group))?;
    }
    if Mode::from_raw_mode(stat.st_mode) != mode {
        fchmod(file, mode)?;
    }
    Ok(())
}
