//! Uploads: by the same rules as a node's, up to the compiler, which is not here. A component is whatever begins with
//! the binary format's preamble.

use aws_lc_rs::digest::{Context as Hash, SHA256};
use control_api::error::{PlaneError, Problem};
use control_api::plane::{Caller, UploadBody};
use control_api::statement::{Expected, SignedStatement, Statement};
use control_api::view::*;
use edge_config::{Digest, KeyId, ModuleName, TenantName};
use futures_util::StreamExt as _;

use super::modules::kept;
use super::state::{Result, State, holds, room};

/// The preamble of a component in the binary format.
pub(crate) const PREAMBLE: &[u8] = b"\0asm\x0d\0\x01\0";
/// Longest statement lifetime, in seconds.
const STATEMENT_S_MAX: u64 = 86_400;

/// An upload whose bytes are in: each poll moves it one step on.
pub(super) struct Pending {
    tenant: TenantName,
    job: Job,
    checked: Option<(Checked, Caller)>,
}

/// An upload that passed every check before the commit.
pub(super) struct Checked {
    pub(super) tenant: TenantName,
    pub(super) module: ModuleName,
    pub(super) statement: Statement,
    pub(super) kid: KeyId,
    pub(super) bytes: u64,
}

/// Bytes that came.
pub(super) struct Received {
    pub(super) digest: Digest,
    pub(super) bytes: u64,
    pub(super) is_component: bool,
}

/// Takes the bytes.
pub(super) async fn receive(mut body: UploadBody, bytes_max: u64) -> Result<Received> {
    let (mut hash, mut bytes, mut first) = (Hash::new(&SHA256), 0_u64, Vec::<u8>::new());
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|_| PlaneError::BodyBrokenOff {
            received_bytes: bytes,
        })?;
        bytes += chunk.len() as u64;
        if bytes > bytes_max {
            return Err(PlaneError::BodyTooLarge { bytes_max });
        }
        hash.update(&chunk);
        first.extend(chunk.iter().take(PREAMBLE.len() - first.len()));
    }
    Ok(Received {
        digest: Digest::from_bytes(hash.finish().as_ref().try_into().unwrap()),
        bytes,
        is_component: first == PREAMBLE,
    })
}

pub(super) fn not_a_component() -> PlaneError {
    PlaneError::NotAComponent {
        why: "it does not begin with a component's preamble".to_owned(),
    }
}

impl State {
    pub(super) fn component_bytes_max(&self, tenant: &TenantName) -> Result<u64> {
        Ok(self.owner(tenant)?.limits()?.component_kib_max * 1024)
    }

    /// Everything about a statement that can be said before the bytes.
    pub(super) fn check_statement(
        &self,
        tenant: &TenantName,
        module: &ModuleName,
        text: Option<&str>,
    ) -> Result<(Statement, KeyId)> {
        let signed = SignedStatement::parse(text.ok_or(PlaneError::StatementMissing)?)?;
        let kid = signed.kid()?;
        let key = self.owner(tenant)?.keys.get(&kid);
        let key = key.ok_or_else(|| signed.publisher_unknown())?;
        let statement = signed.verify(&kid, &key.value.jwk)?;
        statement.check(&Expected {
            tenant,
            module,
            now: self.now,
            clock_skew_s: 60,
            lifetime_s_max: STATEMENT_S_MAX,
        })?;
        Ok((statement, kid))
    }

    /// Whether the tenant may upload to this module now, whatever the version.
    pub(super) fn may_take(
        &self,
        tenant: &TenantName,
        module: &ModuleName,
        precondition: Precondition,
    ) -> Result<()> {
        let owner = self.owner(tenant)?;
        if owner.write.suspended {
            let tenant = tenant.clone();
            return Err(PlaneError::TenantSuspended { tenant });
        }
        let there = owner.modules.get(module).map(|module| module.revision);
        holds(precondition, there)?;
        if there.is_none() {
            let most = owner.limits()?.modules_max;
            room("modules_max", most, owner.modules.len())?;
        }
        Ok(())
    }

    /// Whether a statement may become a version; what it has become already, where it repeats what was accepted.
    pub(super) fn may_become(
        &self,
        tenant: &TenantName,
        statement: &Statement,
        precondition: Precondition,
    ) -> Result<Option<Revised<ModuleVersion>>> {
        let owner = self.owner(tenant)?;
        if let (false, Some(repeated)) = (owner.write.suspended, self.repeated(tenant, statement)) {
            return Ok(Some(repeated));
        }
        self.may_take(tenant, &statement.module, precondition)?;
        match owner.highest.get(&statement.module) {
            Some(highest) if statement.version <= *highest => Err(PlaneError::VersionNotAbove {
                module: statement.module.clone(),
                version: statement.version,
                highest: *highest,
            }),
            _ => Ok(None),
        }
    }

    fn repeated(
        &self,
        tenant: &TenantName,
        statement: &Statement,
    ) -> Option<Revised<ModuleVersion>> {
        let module = self.owner(tenant).ok()?.modules.get(&statement.module)?;
        let version = kept(&module.value, statement.version).ok()?;
        (version.digest == statement.digest).then(|| Revised {
            revision: module.revision,
            value: version.clone(),
        })
    }

    /// Makes a version of it.
    pub(super) fn commit(
        &mut self,
        checked: Checked,
        caller: Caller,
    ) -> Result<(Revised<ModuleVersion>, Written)> {
        self.owner(&checked.tenant)?;
        let number = checked.statement.version;
        let resource = format!("{} version {number}", checked.module);
        let revision = self.record(caller, "module.upload", &checked.tenant, resource);
        let version = ModuleVersion {
            version: number,
            digest: checked.statement.digest,
            component_bytes: checked.bytes,
            kid: checked.kid,
            accepted_at: self.now,
            world: "wasi:http/proxy@0.2".to_owned(),
            inspection: Inspection::default(),
        };
        let owner = self.owner_mut(&checked.tenant)?;
        owner.highest.insert(checked.module.clone(), number);
        let mut module = Module {
            name: checked.module.clone(),
            active_version: number,
            highest_version: number,
            instances: InstanceUse::default(),
            grants: Grants::default(),
            versions: vec![version.clone()],
        };
        let before = owner.modules.remove(&checked.module);
        let written = if before.is_some() {
            Written::Updated
        } else {
            Written::Created
        };
        if let Some(before) = before {
            module.instances = before.value.instances;
            module.grants = before.value.grants.clone();
            module.versions.extend(before.value.versions);
        }
        let module = Revised {
            revision,
            value: module,
        };
        owner.modules.insert(checked.module, module);
        let version = Revised {
            revision,
            value: version,
        };
        Ok((version, written))
    }

    /// Keeps an upload for later: `None` for one whose bytes are no component.
    pub(super) fn begin_job(
        &mut self,
        checked: Checked,
        is_component: bool,
        caller: Caller,
    ) -> Job {
        let job = Job {
            id: format!("job-{}", self.jobs.len() + 1),
            module: checked.module.clone(),
            version: checked.statement.version,
            state: JobState::Queued { position: 1 },
        };
        let pending = Pending {
            tenant: checked.tenant.clone(),
            job: job.clone(),
            checked: is_component.then_some((checked, caller)),
        };
        self.jobs.insert(job.id.clone(), pending);
        job
    }

    /// A job, which goes on by one step for being asked about.
    pub(super) fn job(&mut self, tenant: &TenantName, id: &str) -> Result<Job> {
        self.owner(tenant)?;
        let mut pending = self.jobs.remove(id);
        let found = pending.as_mut().filter(|pending| pending.tenant == *tenant);
        let job = found.map(|found| {
            let next = match &found.job.state {
                JobState::Queued { .. } => Some(JobState::Compiling { running_ms: 1 }),
                JobState::Compiling { .. } => Some(self.end(found.checked.take())),
                JobState::Done { .. } | JobState::Failed { .. } => None,
            };
            if let Some(next) = next {
                found.job.state = next;
            }
            found.job.clone()
        });
        if let Some(pending) = pending {
            self.jobs.insert(id.to_owned(), pending);
        }
        job.ok_or_else(|| PlaneError::JobNotFound { job: id.to_owned() })
    }

    fn end(&mut self, checked: Option<(Checked, Caller)>) -> JobState {
        let outcome = match checked {
            None => Err(not_a_component()),
            Some((checked, caller)) => self.commit(checked, caller),
        };
        match outcome {
            Ok((version, written)) => JobState::Done {
                version: Box::new(version.value),
                written,
            },
            Err(error) => JobState::Failed {
                problem: Box::new(Problem::from_plane(&error, "the upload's request")),
            },
        }
    }
}
