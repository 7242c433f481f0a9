//! One upload: statement, bytes, digest, compilation, publication; each step needs what the one before gave.

use std::sync::Arc;
use std::time::{Duration, Instant};

use control_api::error::{PlaneError, Problem};
use control_api::plane::{Caller, Upload, UploadBody, UploadOutcome};
use control_api::problem::Answer;
use control_api::statement::{Expected, SignedStatement, Statement};
use control_api::view::{
    self, DryRunProblem, ModuleVersion, Precondition, Revised, UploadDryRun, Written,
};
use edge_config::{Digest, KeyId, ModuleName, TenantName};
use futures_util::StreamExt;
use tokio::sync::SemaphorePermit;

use super::Control;
use super::change::{Plan, check, revised};
use super::edit::Edit;
use super::jobs::{JobHandle, Progress};
use super::plane::{room, tenant_in};
use super::state::{Module, State, Version, VersionDetails};
use super::views;
use crate::artifact::compile::{CompileError, CompileJob, QueueFull, Ticket};
use crate::artifact::inspect::Inspection;
use crate::hex::random_id;
use crate::link::World;
use crate::metrics::{CompileOutcome, UploadEnd};
use crate::store::blobs::{BlobError, IncomingBlob};

/// Names of modules, kept or gone, that are remembered for one tenant.
const MODULE_NAMES_MAX: usize = 1024;
/// What a client is told to wait when the node is busy, in seconds.
const BUSY_RETRY_AFTER_S: u64 = 2;

/// A statement whose signature verified and which is for this place and time.
struct Signed {
    statement: Statement,
    kid: KeyId,
    public_key: [u8; 32],
    text: Box<str>,
}

/// Bytes that are what was signed.
struct Received {
    tenant: TenantName,
    module: ModuleName,
    signed: Signed,
    bytes: IncomingBlob,
}

/// A component that this node can run.
struct Compiled {
    world: World,
    inspection: Inspection,
}

/// Who is told how it goes.
type Tell<'a> = &'a (dyn Fn(Progress) + Sync);

impl Control {
    /// Takes an upload to its end, or to a job where the client would rather poll.
    pub(super) async fn take_upload(
        &self,
        upload: Upload,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<UploadOutcome, PlaneError> {
        let respond_async = upload.respond_async;
        let received = self.receive(upload, precondition).await;
        let received = received.inspect_err(|error| self.metrics.upload(UploadEnd::from(error)))?;
        if !respond_async {
            let (version, written) = self
                .publish(received, None, precondition, &caller, &|_| {})
                .await?;
            return Ok(UploadOutcome::Done { version, written });
        }
        // The place in the queue is taken before the answer: a full queue is an answer, not a failed job.
        let ticket = self
            .place_in_queue()
            .inspect_err(|error| self.metrics.upload(UploadEnd::from(error)))?;
        let id = random_id().map_err(|error| internal(&error))?;
        let job = self.jobs.begin(
            id,
            received.tenant.clone(),
            received.module.clone(),
            received.signed.statement.version,
        );
        let shown = job.view();
        if let Some(me) = self.me() {
            self.tracker.spawn(async move {
                me.finish_job(job, received, ticket, precondition, caller)
                    .await
            });
        }
        Ok(UploadOutcome::Accepted(shown))
    }

    async fn finish_job(
        self: Arc<Self>,
        job: JobHandle,
        received: Received,
        ticket: Ticket,
        precondition: Precondition,
        caller: Caller,
    ) {
        let outcome = self
            .publish(received, Some(ticket), precondition, &caller, &|progress| {
                job.set(progress)
            })
            .await;
        let outcome = outcome
            .map(|(version, written)| (version.value, written))
            .map_err(|error| problem(&error, &caller.request_id));
        self.jobs.finish(&job, outcome);
    }

    /// Statement first, then bytes; nothing is parsed.
    async fn receive(
        &self,
        upload: Upload,
        precondition: Precondition,
    ) -> Result<Received, PlaneError> {
        let Upload {
            tenant,
            module,
            statement,
            declared_bytes,
            body,
            ..
        } = upload;
        let text = statement.ok_or(PlaneError::StatementMissing)?;
        let signed = self.verify(&tenant, &module, &text)?;
        let bytes_max = {
            let state = self.read();
            may_become(&state, &tenant, &module, &signed.statement, precondition)?;
            tenant_in(&state, &tenant)?.limits.component_kib_max << 10
        };
        let _permit = self.upload_permit()?;
        let bytes = self.take_bytes(body, declared_bytes, bytes_max).await?;
        let actual = bytes.digest();
        let stated = signed.statement.digest;
        if actual != stated {
            return Err(PlaneError::DigestMismatch { stated, actual });
        }
        Ok(Received {
            tenant,
            module,
            signed,
            bytes,
        })
    }

    fn verify(
        &self,
        tenant: &TenantName,
        module: &ModuleName,
        text: &str,
    ) -> Result<Signed, PlaneError> {
        let parsed = SignedStatement::parse(text)?;
        let kid = parsed.kid()?;
        let public_key = {
            let state = self.read();
            let tenant = tenant_in(&state, tenant)?;
            tenant
                .keys
                .get(&kid)
                .ok_or_else(|| parsed.publisher_unknown())?
                .value
                .public_key
        };
        let statement = parsed.verify(&kid, &views::jwk(&kid, &public_key))?;
        let (auth, uploads) = (&self.config.auth, &self.config.uploads);
        statement.check(&Expected {
            tenant,
            module,
            now: self.now_s(),
            clock_skew_s: auth.clock_skew_s.into(),
            lifetime_s_max: uploads.statement_lifetime_s_max.into(),
        })?;
        Ok(Signed {
            statement,
            kid,
            public_key,
            text: text.into(),
        })
    }

    fn upload_permit(&self) -> Result<SemaphorePermit<'_>, PlaneError> {
        self.uploads
            .try_acquire()
            .map_err(|_| PlaneError::UploadsBusy {
                concurrent_max: self.config.uploads.concurrent_max.into(),
                retry_after_s: BUSY_RETRY_AFTER_S,
            })
    }

    async fn take_bytes(
        &self,
        mut body: UploadBody,
        declared_bytes: Option<u64>,
        bytes_max: u64,
    ) -> Result<IncomingBlob, PlaneError> {
        if declared_bytes.is_some_and(|declared| declared > bytes_max) {
            return Err(PlaneError::BodyTooLarge { bytes_max });
        }
        let mut bytes = self.blobs.begin(bytes_max).map_err(blob_error)?;
        let duration_ms_max = u64::from(self.config.uploads.duration_ms_max);
        let deadline = tokio::time::Instant::now() + Duration::from_millis(duration_ms_max);
        loop {
            let next = tokio::time::timeout_at(deadline, body.next()).await;
            match next.map_err(|_| PlaneError::BodyTooSlow { duration_ms_max })? {
                Some(Ok(chunk)) => bytes.write(&chunk).map_err(blob_error)?,
                Some(Err(_)) => {
                    return Err(PlaneError::BodyBrokenOff {
                        received_bytes: bytes.bytes(),
                    });
                }
                None => break,
            }
        }
        if bytes.bytes() == 0 {
            Err(PlaneError::BodyEmpty)
        } else {
            Ok(bytes)
        }
    }

    /// From signed bytes to a version that routes can serve.
    async fn publish(
        &self,
        received: Received,
        ticket: Option<Ticket>,
        precondition: Precondition,
        caller: &Caller,
        tell: Tell<'_>,
    ) -> Result<(Revised<ModuleVersion>, Written), PlaneError> {
        let outcome = self
            .compile_and_commit(received, ticket, precondition, caller, tell)
            .await;
        self.metrics.upload(match &outcome {
            Ok((_, Written::Unchanged)) => UploadEnd::Unchanged,
            Ok(_) => UploadEnd::Accepted,
            Err(error) => UploadEnd::from(error),
        });
        outcome
    }

    async fn compile_and_commit(
        &self,
        received: Received,
        ticket: Option<Ticket>,
        precondition: Precondition,
        caller: &Caller,
        tell: Tell<'_>,
    ) -> Result<(Revised<ModuleVersion>, Written), PlaneError> {
        let Received {
            tenant,
            module,
            signed,
            bytes,
        } = received;
        let statement = &signed.statement;
        let repeated = {
            let state = self.read();
            may_become(&state, &tenant, &module, statement, precondition)?
        };
        if repeated {
            return Ok((
                self.version_now(&tenant, &module, statement.version)?,
                Written::Unchanged,
            ));
        }
        let _kept = self.publishing(statement.digest);
        let compiled = self
            .compiled(&bytes, &statement.digest, ticket, tell)
            .await?;
        let bytes_max = {
            let state = self.read();
            tenant_in(&state, &tenant)?.limits.instance_memory_mib_max << 20
        };
        let declared_bytes = compiled.inspection.memory.initial_bytes;
        if declared_bytes > bytes_max {
            return Err(PlaneError::MemoryDoesNotFit {
                declared_bytes,
                bytes_max,
            });
        }
        let component_bytes = bytes.bytes();
        let expected = statement.digest;
        // Held until the store refers to the component.
        let lease = blocking(move || bytes.finish(&expected))
            .await?
            .map_err(blob_error)?;
        let details = VersionDetails {
            inspection: compiled.inspection,
            publisher_key: signed.public_key,
        };
        let version = Version {
            version: statement.version,
            digest: statement.digest,
            component_bytes,
            kid: signed.kid,
            accepted_at_s: self.now_s(),
            statement: signed.text,
            world: compiled.world,
            details: postcard::to_stdvec(&details)
                .map_err(|error| internal(&error))?
                .into(),
        };
        let number = version.version;
        let (name, id) = (tenant.clone(), module.clone());
        let stated = signed.statement;
        self.change(caller, move |state| {
            plan_version(state, name, id, version, &stated, precondition)
        })
        .await?;
        drop(lease);
        self.collect_soon();
        Ok((
            self.version_now(&tenant, &module, number)?,
            Written::Created,
        ))
    }

    fn version_now(
        &self,
        tenant: &TenantName,
        module: &ModuleName,
        version: u64,
    ) -> Result<Revised<ModuleVersion>, PlaneError> {
        let state = self.read();
        let gone = || PlaneError::ModuleNotFound {
            tenant: tenant.clone(),
            module: module.clone(),
        };
        let found = tenant_in(&state, tenant)?
            .modules
            .get(module)
            .ok_or_else(gone)?;
        let kept = found.value.version(version).ok_or_else(gone)?;
        Ok(revised(found.revision, views::version(kept)))
    }

    /// An artifact for these bytes: one that is there, another tenant's included, or a new one.
    async fn compiled(
        &self,
        bytes: &IncomingBlob,
        digest: &Digest,
        ticket: Option<Ticket>,
        tell: Tell<'_>,
    ) -> Result<Compiled, PlaneError> {
        if let Some(known) = self.known_component(digest).await {
            self.metrics.artifact(crate::metrics::ArtifactState::Shared);
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
        let inspection = self.compile(bytes.file(), bytes.bytes(), digest).await?;
        drop(turn);
        let world = inspection
            .world
            .ok_or_else(|| PlaneError::ExportsNotServed {
                exports: inspection.exports.clone(),
            })?;
        Ok(Compiled { world, inspection })
    }

    fn place_in_queue(&self) -> Result<Ticket, PlaneError> {
        self.compile_queue.enqueue().map_err(queue_full)
    }

    /// Compiles into the cache. The caller holds the compiler's turn.
    pub(super) async fn compile(
        &self,
        component: &std::fs::File,
        component_bytes: u64,
        digest: &Digest,
    ) -> Result<Inspection, PlaneError> {
        let began = Instant::now();
        let outcome = self
            .compile_uncounted(component, component_bytes, digest)
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
    ) -> Result<Inspection, PlaneError> {
        let output = self.cache.begin().map_err(|error| internal(&error))?;
        let job = CompileJob {
            component,
            component_bytes,
            output: &output,
            limits: &self.compile_limits,
            shape: &self.shape,
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
            let referenced = |name: &crate::link::ArtifactName| {
                me.as_ref()
                    .is_some_and(|control| control.artifact_is_referenced(name))
            };
            cache.commit(&output, artifact_bytes, &digest, &referenced)
        })
        .await?
        .map_err(|error| internal(&error))?;
        self.metrics
            .artifact(crate::metrics::ArtifactState::Compiled);
        Ok(report.inspection)
    }

    /// What is known of a component that some tenant has accepted and whose artifact is good.
    async fn known_component(&self, digest: &Digest) -> Option<Compiled> {
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
                .is_ok()
        })
        .await
        .ok()?;
        good.then_some(Compiled {
            world,
            inspection: details.inspection,
        })
    }

    /// What an upload would meet, in the order in which it would; nothing is kept.
    pub(super) async fn try_upload(&self, upload: Upload) -> Result<UploadDryRun, PlaneError> {
        let Upload {
            tenant,
            module,
            statement,
            declared_bytes,
            body,
            ..
        } = upload;
        let mut problems = Vec::new();
        let mut signed = None;
        if let Some(text) = statement {
            match self.verify(&tenant, &module, &text) {
                Ok(good) => signed = Some(good.statement),
                Err(error) => problems.push(error),
            }
        }
        let limits = {
            let state = self.read();
            if let Some(statement) = &signed
                && let Err(error) =
                    may_become(&state, &tenant, &module, statement, Precondition::None)
            {
                problems.push(error);
            }
            tenant_in(&state, &tenant)?.limits
        };
        let permit = self.upload_permit()?;
        let bytes = self
            .take_bytes(body, declared_bytes, limits.component_kib_max << 10)
            .await?;
        drop(permit);
        let digest = bytes.digest();
        if let Some(statement) = &signed
            && statement.digest != digest
        {
            problems.push(PlaneError::DigestMismatch {
                stated: statement.digest,
                actual: digest,
            });
        }
        let turn = self
            .dry_run_queue
            .enqueue()
            .map_err(queue_full)?
            .turn()
            .await;
        let inspected = self
            .compiler
            .inspect(bytes.file(), bytes.bytes(), &self.compile_limits)
            .await;
        drop(turn);
        let bytes_max = limits.instance_memory_mib_max << 20;
        let mut answer = UploadDryRun {
            accepted: false,
            problems: Vec::new(),
            digest,
            component_bytes: bytes.bytes(),
            world: None,
            inspection: view::Inspection::default(),
            instance_memory_bytes_max: bytes_max,
            fits: false,
            artifact_ready: false,
        };
        match inspected {
            Ok(inspection) => {
                problems.extend(would_refuse(&inspection, bytes_max));
                answer.world = inspection.world.map(|world| world.name().to_owned());
                answer.fits = inspection.memory.initial_bytes <= bytes_max;
                answer.inspection = views::inspection(&inspection);
                answer.artifact_ready = self.known_component(&digest).await.is_some();
            }
            Err(error) => problems.push(compile_error(error)),
        }
        answer.accepted = problems.is_empty();
        answer.problems = problems.iter().map(dry_run_problem).collect();
        Ok(answer)
    }
}

/// What of an inspected component would be refused.
fn would_refuse(inspection: &Inspection, bytes_max: u64) -> Vec<PlaneError> {
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
    refused
}

/// Whether a statement may become a version now; `true` where it already did, from the same bytes.
fn may_become(
    state: &State,
    tenant: &TenantName,
    module: &ModuleName,
    statement: &Statement,
    precondition: Precondition,
) -> Result<bool, PlaneError> {
    let found = tenant_in(state, tenant)?;
    if found.settings.value.suspended {
        return Err(PlaneError::TenantSuspended {
            tenant: tenant.clone(),
        });
    }
    let kept = found.modules.get(module);
    let repeated = kept
        .and_then(|kept| kept.value.version(statement.version))
        .is_some_and(|version| version.digest == statement.digest);
    if repeated {
        return Ok(true);
    }
    check(precondition, kept.map(|kept| kept.revision))?;
    let highest = state.highest_version(tenant, module);
    if statement.version <= highest {
        return Err(PlaneError::VersionNotAbove {
            module: module.clone(),
            version: statement.version,
            highest,
        });
    }
    room(
        "modules_max",
        found.limits.modules_max,
        found.modules.len(),
        kept.is_some(),
    )?;
    let remembered = kept.is_some() || highest > 0;
    if !remembered && state.names_remembered(tenant) >= MODULE_NAMES_MAX {
        return Err(PlaneError::LimitReached {
            limit: "module names, deleted ones included",
            most: MODULE_NAMES_MAX as u64,
        });
    }
    Ok(false)
}

fn plan_version(
    state: &State,
    tenant: TenantName,
    name: ModuleName,
    version: Version,
    statement: &Statement,
    precondition: Precondition,
) -> Result<Plan, PlaneError> {
    // Looked at again: another upload may have come first while this one compiled.
    if may_become(state, &tenant, &name, statement, precondition)? {
        return Ok(Plan::nothing());
    }
    let found = tenant_in(state, &tenant)?;
    let before = found.modules.get(&name);
    let mut versions = before
        .map(|before| before.value.versions.clone())
        .unwrap_or_default();
    let number = version.version;
    let shown = views::version(&version);
    versions.push(version);
    let pinned: Vec<u64> = found
        .routes_of(&name)
        .filter_map(|(_, target)| target.version)
        .collect();
    let kept_max = usize::try_from(found.limits.kept_versions_max).unwrap_or(usize::MAX);
    let mut surplus = versions.len().saturating_sub(kept_max);
    // Oldest first; what a route pins stays, beyond the limit if it must.
    versions.retain(|kept| {
        let goes = surplus > 0 && kept.version != number && !pinned.contains(&kept.version);
        surplus -= usize::from(goes);
        !goes
    });
    let module = Module {
        active_version: number,
        highest_version: number,
        versions,
    };
    let plan = Plan::new(
        "module.upload",
        Some(&tenant),
        format!("{name} version {number}"),
    );
    let mut plan = plan
        .written(before.is_some())
        .before(
            before
                .and_then(|before| before.value.versions.last())
                .map(views::version),
        )
        .after(Some(shown));
    if before.is_none() {
        plan = plan.edit(Edit::DeleteFloor {
            tenant: tenant.clone(),
            module: name.clone(),
        });
    }
    Ok(plan.edit(Edit::PutModule {
        tenant,
        name,
        module,
    }))
}

fn dry_run_problem(error: &PlaneError) -> DryRunProblem {
    let problem = problem(error, "");
    DryRunProblem {
        problem_type: problem.problem_type,
        detail: problem.detail,
    }
}

fn problem(error: &PlaneError, request_id: &str) -> Problem {
    Answer::from(error).problem(request_id)
}

pub(super) fn compile_error(error: CompileError) -> PlaneError {
    use crate::artifact::compile::Cost;
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

fn queue_full(full: QueueFull) -> PlaneError {
    PlaneError::CompileQueueFull {
        queue_max: full.waiting_max as u64,
        retry_after_s: BUSY_RETRY_AFTER_S,
    }
}

fn blob_error(error: BlobError) -> PlaneError {
    match error {
        BlobError::TooLarge { bytes_max } => PlaneError::BodyTooLarge { bytes_max },
        BlobError::NoSpace { .. } => {
            tracing::error!(%error, "an upload was refused");
            PlaneError::StoreUnavailable
        }
        error => internal(&error),
    }
}

pub(super) fn internal(error: &dyn std::error::Error) -> PlaneError {
    PlaneError::Internal {
        inside: crate::logging::chain(error),
    }
}

/// Runs what blocks on the disk away from the runtime's threads.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, PlaneError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| internal(&error))
}
