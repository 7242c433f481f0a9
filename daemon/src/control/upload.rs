//! One upload: statement, bytes, digest, compilation, publication; each step needs what the one before gave.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use control_api::error::{PlaneError, Problem};
use control_api::plane::{Caller, Upload, UploadBody, UploadOutcome};
use control_api::statement::{Expected, SignedStatement, Statement};
use control_api::view::{ModuleVersion, Precondition, Revised, Written};
use edge_config::{KeyId, ModuleName, TenantName};
use futures_util::StreamExt;

use super::change::{Plan, check, revised};
use super::compile::{Tell, would_refuse};
use super::edit::Edit;
use super::jobs::JobHandle;
use super::plane::{room, tenant_in};
use super::state::{Module, State, Tenant, Version, VersionDetails};
use super::{Control, blocking, internal, views};
use crate::artifact::compile::Ticket;
use crate::hex::random_id;
use crate::metrics::UploadEnd;
use crate::store::blobs::{BlobError, IncomingBlob};

/// Names of modules, kept or gone, that are remembered for one tenant.
const MODULE_NAMES_MAX: usize = 1024;
/// Bytes of an upload that are handed to the disk at once; so many more may wait in memory.
const WRITTEN_BYTES_MIN: u64 = 256 << 10;
/// What a client is told to wait when the node is busy, in seconds.
pub(super) const BUSY_RETRY_AFTER_S: u64 = 2;

/// A statement whose signature verified and which is for this place and time.
pub(super) struct Signed {
    pub(super) statement: Statement,
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

impl Control {
    /// Takes an upload to its end, or to a job where the client would rather poll.
    pub(super) async fn take_upload(
        &self,
        upload: Upload,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<UploadOutcome, PlaneError> {
        let under_way = Arc::clone(&self.uploading).try_read_owned();
        let under_way = under_way.map_err(|_| PlaneError::HandingOver)?;
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
                    .await;
                drop(under_way);
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
            .map_err(|error| Problem::from_plane(&error, &caller.request_id));
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
        let _place = self.uploads.take(&tenant)?;
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

    pub(super) fn verify(
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
        let config = self.config();
        let (auth, uploads) = (&config.auth, &config.uploads);
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

    pub(super) async fn take_bytes(
        &self,
        mut body: UploadBody,
        declared_bytes: Option<u64>,
        bytes_max: u64,
    ) -> Result<IncomingBlob, PlaneError> {
        if declared_bytes.is_some_and(|declared| declared > bytes_max) {
            return Err(PlaneError::BodyTooLarge { bytes_max });
        }
        let blobs = self.blobs.clone();
        let mut bytes = blocking(move || blobs.begin(bytes_max))
            .await?
            .map_err(blob_error)?;
        let duration_ms_max = u64::from(self.config().uploads.duration_ms_max);
        let deadline = tokio::time::Instant::now() + Duration::from_millis(duration_ms_max);
        let (mut received_bytes, mut unwritten) = (0, Vec::new());
        loop {
            let next = tokio::time::timeout_at(deadline, body.next()).await;
            let next = next.map_err(|_| PlaneError::BodyTooSlow { duration_ms_max })?;
            let ended = next.is_none();
            if let Some(chunk) = next {
                let chunk = chunk.map_err(|_| PlaneError::BodyBrokenOff { received_bytes })?;
                received_bytes += chunk.len() as u64;
                if received_bytes > bytes_max {
                    return Err(PlaneError::BodyTooLarge { bytes_max });
                }
                unwritten.push(chunk);
            }
            if ended || received_bytes - bytes.bytes() >= WRITTEN_BYTES_MIN {
                bytes = write(bytes, std::mem::take(&mut unwritten)).await?;
            }
            if ended {
                break;
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
        let (repeated, artifact_bytes_max) = {
            let state = self.read();
            (
                may_become(&state, &tenant, &module, statement, precondition)?,
                tenant_in(&state, &tenant)?.limits.artifact_kib_max << 10,
            )
        };
        if repeated {
            return Ok((
                self.version_now(&tenant, &module, statement.version)?,
                Written::Unchanged,
            ));
        }
        // The disk takes the bytes while the compiler works; naming them then waits for little.
        if let Ok(file) = bytes.file().try_clone() {
            tokio::task::spawn_blocking(move || {
                // What fails here fails again, and is reported, when the component gets its name.
                let _ = file.sync_all();
            });
        }
        let _kept = self.publishing(statement.digest);
        let compiled = self
            .compiled(&bytes, &statement.digest, artifact_bytes_max, ticket, tell)
            .await?;
        let bytes_max = {
            let state = self.read();
            tenant_in(&state, &tenant)?.limits.instance_memory_mib_max << 20
        };
        if let Some(error) = would_refuse(&compiled.inspection, bytes_max)
            .into_iter()
            .next()
        {
            return Err(error);
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
        let (stated, key) = (signed.statement, signed.public_key);
        let written = self
            .change(caller, move |state| {
                still_trusted(state, &name, &version.kid, &key)?;
                plan_version(state, name, id, version, &stated, precondition)
            })
            .await?;
        drop(lease);
        self.collect_soon();
        Ok((self.version_now(&tenant, &module, number)?, written))
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
}

/// Writes away from the runtime's threads.
async fn write(mut blob: IncomingBlob, chunks: Vec<Bytes>) -> Result<IncomingBlob, PlaneError> {
    blocking(move || {
        for chunk in chunks {
            blob.write(&chunk)?;
        }
        Ok(blob)
    })
    .await?
    .map_err(blob_error)
}

/// Whether the tenant trusts the key that signed a statement, now that it is to count: the operator may have taken it
/// away while the component was compiled.
fn still_trusted(
    state: &State,
    tenant: &TenantName,
    kid: &KeyId,
    public_key: &[u8; 32],
) -> Result<(), PlaneError> {
    let key = tenant_in(state, tenant)?.keys.get(kid);
    if key.is_some_and(|key| key.value.public_key == *public_key) {
        Ok(())
    } else {
        Err(PlaneError::PublisherUnknown {
            kid: kid.to_string(),
        })
    }
}

/// Whether a tenant may upload to a module now, whatever the version.
pub(super) fn may_take(
    state: &State,
    tenant: &TenantName,
    module: &ModuleName,
    precondition: Precondition,
) -> Result<(), PlaneError> {
    let found = tenant_in(state, tenant)?;
    not_suspended(found, tenant)?;
    let kept = found.modules.get(module);
    check(precondition, kept.map(|kept| kept.revision))?;
    room(
        "modules_max",
        found.limits.modules_max,
        found.modules.len(),
        kept.is_some(),
    )?;
    let remembered = kept.is_some() || state.highest_version(tenant, module) > 0;
    if !remembered && state.names_remembered(tenant) >= MODULE_NAMES_MAX {
        return Err(PlaneError::LimitReached {
            limit: "module names, deleted ones included",
            most: MODULE_NAMES_MAX as u64,
        });
    }
    Ok(())
}

fn not_suspended(found: &Tenant, tenant: &TenantName) -> Result<(), PlaneError> {
    if found.settings.value.suspended {
        return Err(PlaneError::TenantSuspended {
            tenant: tenant.clone(),
        });
    }
    Ok(())
}

/// Whether a statement may become a version now; `true` where it already did, from the same bytes: what is asked for
/// is so already, whatever the precondition (RFC 9110 §13.1.1).
pub(super) fn may_become(
    state: &State,
    tenant: &TenantName,
    module: &ModuleName,
    statement: &Statement,
    precondition: Precondition,
) -> Result<bool, PlaneError> {
    let found = tenant_in(state, tenant)?;
    not_suspended(found, tenant)?;
    let repeated = found
        .modules
        .get(module)
        .and_then(|kept| kept.value.version(statement.version))
        .is_some_and(|version| version.digest == statement.digest);
    if repeated {
        return Ok(true);
    }
    may_take(state, tenant, module, precondition)?;
    let highest = state.highest_version(tenant, module);
    if statement.version <= highest {
        return Err(PlaneError::VersionNotAbove {
            module: module.clone(),
            version: statement.version,
            highest,
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
    let shown = views::audited_version(&version);
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
        reuse: before.and_then(|before| before.value.reuse),
        grants: before.and_then(|before| before.value.grants.clone()),
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
                .map(views::audited_version),
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

fn blob_error(error: BlobError) -> PlaneError {
    match error {
        BlobError::TooLarge { bytes_max } => PlaneError::BodyTooLarge { bytes_max },
        BlobError::NoSpace { .. } => {
            tracing::error!(%error, "an upload was refused");
            PlaneError::DiskFull
        }
        error => internal(&error),
    }
}
