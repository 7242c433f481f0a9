//! From a component's bytes to an artifact in the cache: one that is there, or a new one from a compile child.

use std::sync::Arc;
use std::time::Instant;

use control_api::error::PlaneError;
use edge_config::Digest;

use super::jobs::Progress;
use super::state::VersionDetails;
use super::upload::BUSY_RETRY_AFTER_S;
use super::{Control, blocking, internal};
use crate::artifact::cache::TRAILER_BYTES;
use crate::artifact::compile::{CompileError, CompileJob, Cost, QueueFull, Ticket};
use crate::artifact::inspect::{Inspection, MemoryBasis};
use crate::engine::{CORE_INSTANCES_PER_COMPONENT, MEMORIES_PER_COMPONENT};
use crate::link::{ArtifactName, World};
use crate::metrics::{ArtifactState, CompileOutcome};
use crate::store::blobs::IncomingBlob;

/// A component that this node can run.
pub(super) struct Compiled {
    pub(super) world: World,
    pub(super) inspection: Inspection,
    pub(super) artifact_bytes: u64,
}

/// Who is told how it goes.
pub(super) type Tell<'a> = &'a (dyn Fn(Progress) + Sync);

impl Control {
    /// An artifact for these bytes, of at most `artifact_bytes_max` bytes: one that is there, another tenant's included,
    /// or a new one.
    pub(super) async fn compiled(
        &self,
        bytes: &IncomingBlob,
        digest: &Digest,
        artifact_bytes_max: u64,
        ticket: Option<Ticket>,
        tell: Tell<'_>,
    ) -> Result<Compiled, PlaneError> {
        if let Some(known) = self.known_component(digest).await {
            if known.artifact_bytes > artifact_bytes_max {
                return Err(compile_error(CompileError::TooCostly {
                    what: Cost::Output {
                        bytes_max: artifact_bytes_max,
                    },
                }));
            }
            self.metrics.artifact(ArtifactState::Shared);
            return Ok(known);
        }
        let ticket = match ticket {
            Some(ticket) => ticket,
            None => self.place_in_queue()?,
        };
        let positions = ticket.positions();
        tell(Progress::Queued(Box::new(move || {
            *positions.borrow() as u64
        })));
        let turn = ticket.turn().await;
        tell(Progress::Compiling(Instant::now()));
        let (inspection, artifact_bytes) = self
            .compile(bytes.file(), bytes.bytes(), digest, artifact_bytes_max)
            .await?;
        self.metrics.artifact(ArtifactState::Compiled);
        drop(turn);
        let world = inspection
            .world
            .ok_or_else(|| PlaneError::ExportsNotServed {
                exports: inspection.exports.clone(),
            })?;
        Ok(Compiled {
            world,
            inspection,
            artifact_bytes,
        })
    }

    pub(super) fn place_in_queue(&self) -> Result<Ticket, PlaneError> {
        self.compile_queue.enqueue().map_err(queue_full)
    }

    /// Compiles into the cache at most `artifact_bytes_max` bytes, and no more than the node allows. The caller holds
    /// the compiler's turn.
    pub(super) async fn compile(
        &self,
        component: &std::fs::File,
        component_bytes: u64,
        digest: &Digest,
        artifact_bytes_max: u64,
    ) -> Result<(Inspection, u64), PlaneError> {
        let began = Instant::now();
        let outcome = self
            .compile_uncounted(component, component_bytes, digest, artifact_bytes_max)
            .await;
        let counted = match &outcome {
            Ok(_) => CompileOutcome::Accepted,
            Err(PlaneError::CompileTooCostly { .. }) => CompileOutcome::TooCostly,
            Err(PlaneError::Internal { .. } | PlaneError::StoreUnavailable) => {
                CompileOutcome::Failed
            }
            Err(_) => CompileOutcome::Refused,
        };
        self.metrics.compile_finished(counted, began.elapsed());
        outcome
    }

    async fn compile_uncounted(
        &self,
        component: &std::fs::File,
        component_bytes: u64,
        digest: &Digest,
        artifact_bytes_max: u64,
    ) -> Result<(Inspection, u64), PlaneError> {
        let mut limits = self.compile_limits();
        limits.output_bytes_max = limits.output_bytes_max.min(artifact_bytes_max);
        let cache = Arc::clone(&self.cache);
        let output = blocking(move || cache.begin())
            .await?
            .map_err(|error| internal(&error))?;
        let job = CompileJob {
            component,
            component_bytes,
            output: &output,
            limits: &limits,
            shape: &self.shape.load(),
            on_inspected: None,
        };
        let report = self.compiler.compile(job).await.map_err(compile_error)?;
        tracing::info!(
            %digest,
            component_bytes,
            artifact_bytes = report.artifact_bytes,
            cpu_ms = report.cpu_ms,
            wall_ms = report.wall_ms,
            peak_rss_bytes = report.peak_rss_bytes,
            "compiled"
        );
        let (cache, digest, me) = (Arc::clone(&self.cache), *digest, self.me());
        let artifact_bytes = report.artifact_bytes;
        blocking(move || {
            let referenced = |name: &ArtifactName| {
                me.as_ref()
                    .is_some_and(|control| control.artifact_is_referenced(name))
            };
            cache.commit(&output, artifact_bytes, &digest, &referenced)
        })
        .await?
        .map_err(|error| internal(&error))?;
        Ok((report.inspection, artifact_bytes))
    }

    /// What is known of a component that some tenant has accepted and whose artifact is good.
    pub(super) async fn known_component(&self, digest: &Digest) -> Option<Compiled> {
        let (world, details) = {
            let state = self.read();
            let (_, _, version) = state.any_version_of(digest)?;
            (
                version.world,
                postcard::from_bytes::<VersionDetails>(&version.details).ok()?,
            )
        };
        let (cache, component) = (Arc::clone(&self.cache), *digest);
        let good = blocking(move || {
            cache
                .open_verified(&cache.name_of(&component), &component)
                .ok()?
                .metadata()
                .ok()
        })
        .await
        .ok()??;
        Some(Compiled {
            world,
            inspection: details.inspection,
            artifact_bytes: good.len().saturating_sub(TRAILER_BYTES as u64),
        })
    }
}

/// What of an inspected component would be refused.
pub(super) fn would_refuse(inspection: &Inspection, bytes_max: u64) -> Vec<PlaneError> {
    let mut refused = Vec::new();
    let missing: Vec<_> = inspection
        .imports_missing()
        .into_iter()
        .map(str::to_owned)
        .collect();
    if !missing.is_empty() {
        refused.push(PlaneError::ImportsNotOffered { imports: missing });
    }
    if inspection.world.is_none() {
        refused.push(PlaneError::ExportsNotServed {
            exports: inspection.exports.clone(),
        });
    }
    let declared_bytes = inspection.memory.initial_bytes;
    if declared_bytes > bytes_max {
        refused.push(PlaneError::MemoryDoesNotFit {
            declared_bytes,
            bytes_max,
        });
    }
    refused.extend(too_complex(inspection));
    refused
}

/// What the engine has no room for in any one instance. The adapters that it makes for calls between components are
/// not counted: what passes here may still not fit, what does not pass never does.
fn too_complex(inspection: &Inspection) -> Option<PlaneError> {
    let memory = &inspection.memory;
    // Another sum says nothing certain about one instance.
    if memory.basis != MemoryBasis::Instances {
        return None;
    }
    let most_of = [
        (
            "core instances",
            memory.core_instances,
            CORE_INSTANCES_PER_COMPONENT,
        ),
        ("linear memories", memory.memories, MEMORIES_PER_COMPONENT),
    ];
    most_of.into_iter().find_map(|(what, count, most)| {
        let most = u64::from(most);
        (count > most).then_some(PlaneError::ComponentTooComplex { what, count, most })
    })
}

pub(super) fn compile_error(error: CompileError) -> PlaneError {
    match error {
        CompileError::Refused(why) => PlaneError::NotAComponent {
            why: why.to_string(),
        },
        CompileError::ImportsNotOffered { names } => {
            PlaneError::ImportsNotOffered { imports: names }
        }
        CompileError::ExportsNotServed { names } => PlaneError::ExportsNotServed { exports: names },
        CompileError::DoesNotLink { message } | CompileError::DoesNotCompile { message } => {
            PlaneError::DoesNotCompile { why: message }
        }
        CompileError::TooCostly { what } => PlaneError::CompileTooCostly {
            what: match what {
                Cost::CpuTime { .. } => "CPU time",
                Cost::WallTime { .. } => "wall clock",
                Cost::Memory { .. } => "memory",
                Cost::Output { .. } => "output",
            },
            limit: what.to_string(),
        },
        CompileError::Internal { .. } => internal(&error),
    }
}

pub(super) fn queue_full(full: QueueFull) -> PlaneError {
    PlaneError::CompileQueueFull {
        queue_max: full.waiting_max as u64,
        retry_after_s: BUSY_RETRY_AFTER_S,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::inspect::DeclaredMemory;

    fn declaring(memories: u64, core_instances: u64, basis: MemoryBasis) -> Inspection {
        Inspection {
            world: Some(World::Proxy02),
            imports: Vec::new(),
            exports: vec!["wasi:http/incoming-handler@0.2.0".to_owned()],
            core_modules: 1,
            functions: 1,
            memory: DeclaredMemory {
                initial_bytes: 1 << 16,
                maximum_bytes: None,
                memories,
                core_instances,
                basis,
            },
            custom_section_bytes: 0,
        }
    }

    #[test]
    fn what_the_engine_could_never_instantiate_is_refused() {
        let exact = MemoryBasis::Instances;
        let (memories, instances) = (
            u64::from(MEMORIES_PER_COMPONENT),
            u64::from(CORE_INSTANCES_PER_COMPONENT),
        );
        assert!(would_refuse(&declaring(memories, instances, exact), 1 << 16).is_empty());
        for (memories, instances, message) in [
            (
                1,
                33,
                "one instance of the component has 33 core instances; this node gives at most 32",
            ),
            (
                9,
                1,
                "one instance of the component has 9 linear memories; this node gives at most 8",
            ),
        ] {
            let refused = would_refuse(&declaring(memories, instances, exact), 1 << 16);
            let messages: Vec<_> = refused.iter().map(ToString::to_string).collect();
            assert_eq!(messages, [message]);
        }
    }

    #[test]
    fn a_sum_over_modules_is_no_ground_to_refuse() {
        let summed = declaring(9, 33, MemoryBasis::Modules);
        assert!(would_refuse(&summed, 1 << 16).is_empty());
    }

    #[test]
    fn memory_is_refused_by_the_byte() {
        let component = declaring(1, 1, MemoryBasis::Instances);
        let refused = would_refuse(&component, (1 << 16) - 1);
        assert!(
            matches!(
                refused.as_slice(),
                [PlaneError::MemoryDoesNotFit {
                    declared_bytes: 65_536,
                    bytes_max: 65_535
                }]
            ),
            "{refused:?}"
        );
    }
}
