//! A control plane in memory: small, but it means what it says.
//!
//! It keeps revisions, preconditions, keys, statements, versions, routes and an audit log by the same rules as a node's.
//! What it leaves out is a compiler: a component is whatever begins with the binary format's preamble.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use aws_lc_rs::digest::{Context as Hash, SHA256};
use control_api::error::{PlaneError, Problem};
use control_api::plane::{
    Caller, ControlPlane, LogLines, LogQuery, Upload, UploadBody, UploadOutcome,
};
use control_api::statement::{Expected, SignedStatement, Statement};
use control_api::view::*;
use edge_config::{Digest, HostPattern, KeyId, Limits, ModuleName, RouteId, TenantName};
use futures_util::StreamExt as _;
use tokio::sync::{Notify, broadcast};

/// The preamble of a component in the binary format.
pub(crate) const PREAMBLE: &[u8] = b"\0asm\x0d\0\x01\0";
/// Longest statement lifetime, in seconds.
pub(crate) const STATEMENT_S_MAX: u64 = 86_400;

pub(crate) struct MemoryPlane {
    state: Mutex<State>,
    now: u64,
    ready: Mutex<std::result::Result<(), String>>,
    /// Where set, a change waits for this before it is made.
    pub(crate) gate: Mutex<Option<Arc<Notify>>>,
    /// Told when a change has reached the gate.
    pub(crate) at_gate: Notify,
}

#[derive(Default)]
struct State {
    revision: u64,
    tenants: BTreeMap<TenantName, Owner>,
    audit: Vec<AuditEntry>,
    jobs: BTreeMap<String, Pending>,
}

struct Owner {
    revision: u64,
    created_at: u64,
    write: TenantWrite,
    keys: BTreeMap<KeyId, Revised<PublisherKey>>,
    modules: BTreeMap<ModuleName, Revised<Module>>,
    highest: BTreeMap<ModuleName, u64>,
    routes: BTreeMap<RouteId, Revised<RouteWrite>>,
    lines: Vec<LogLine>,
    live: broadcast::Sender<LogLine>,
}

/// An upload whose bytes are in: each poll moves it one step on.
struct Pending {
    tenant: TenantName,
    job: Job,
    checked: Option<(Checked, Caller)>,
}

/// An upload that passed every check before the commit.
struct Checked {
    tenant: TenantName,
    module: ModuleName,
    statement: Statement,
    kid: KeyId,
    bytes: u64,
}

type Result<T, E = PlaneError> = std::result::Result<T, E>;

fn page<K: ToString, T: Clone>(
    items: impl Iterator<Item = (K, T)>,
    request: &PageRequest,
) -> Page<T> {
    let mut rest = items
        .map(|(key, item)| (key.to_string(), item))
        .filter(|(key, _)| request.after.as_ref().is_none_or(|after| key > after))
        .peekable();
    let taken: Vec<_> = rest.by_ref().take(request.limit).collect();
    Page {
        next_after: rest
            .peek()
            .and_then(|_| taken.last().map(|(key, _)| key.clone())),
        items: taken.into_iter().map(|(_, item)| item).collect(),
    }
}

fn holds(precondition: Precondition, current: Option<u64>) -> Result<()> {
    match (precondition, current) {
        (Precondition::None, _) | (Precondition::Absent, None) => Ok(()),
        (Precondition::Absent, Some(current)) => Err(PlaneError::AlreadyThere { current }),
        (Precondition::Revision(wanted), None) => Err(PlaneError::RevisionOfNothing { wanted }),
        (Precondition::Revision(wanted), Some(current)) if wanted != current => {
            Err(PlaneError::RevisionMismatch { wanted, current })
        }
        (Precondition::Revision(_), Some(_)) => Ok(()),
    }
}

impl State {
    fn owner(&self, tenant: &TenantName) -> Result<&Owner> {
        self.tenants
            .get(tenant)
            .ok_or_else(|| PlaneError::TenantNotFound {
                tenant: tenant.clone(),
            })
    }

    fn owner_mut(&mut self, tenant: &TenantName) -> Result<&mut Owner> {
        self.tenants
            .get_mut(tenant)
            .ok_or_else(|| PlaneError::TenantNotFound {
                tenant: tenant.clone(),
            })
    }

    fn record(
        &mut self,
        caller: Caller,
        action: &str,
        tenant: &TenantName,
        resource: String,
        at: u64,
    ) -> u64 {
        self.revision += 1;
        self.audit.push(AuditEntry {
            seq: self.revision,
            at,
            who: caller.who,
            action: action.to_owned(),
            tenant: Some(tenant.clone()),
            resource,
            before: None,
            after: None,
            request_id: caller.request_id,
        });
        self.revision
    }
}

impl Owner {
    fn limits(&self) -> Result<Limits> {
        limits(&self.write)
    }

    fn view(&self, name: &TenantName) -> Result<Revised<Tenant>> {
        Ok(Revised {
            revision: self.revision,
            value: Tenant {
                name: name.clone(),
                created_at: self.created_at,
                limits: self.write.limits,
                effective_limits: self.limits()?,
                hosts: self.write.hosts.clone(),
                suspended: self.write.suspended,
            },
        })
    }

    fn module(&self, tenant: &TenantName, module: &ModuleName) -> Result<&Revised<Module>> {
        self.modules
            .get(module)
            .ok_or_else(|| PlaneError::ModuleNotFound {
                tenant: tenant.clone(),
                module: module.clone(),
            })
    }

    fn route_view(&self, tenant: &TenantName, id: &RouteId, write: &RouteWrite) -> Result<Route> {
        let module = self.module(tenant, &write.module)?;
        if let Some(version) = write.version {
            kept(&module.value, version)?;
        }
        Ok(Route {
            id: id.clone(),
            host: id.host().clone(),
            path: id.path().clone(),
            module: write.module.clone(),
            version: write.version,
            serves_version: write.version.unwrap_or(module.value.active_version),
        })
    }
}

fn kept(module: &Module, version: u64) -> Result<&ModuleVersion> {
    module
        .versions
        .iter()
        .find(|kept| kept.version == version)
        .ok_or_else(|| PlaneError::VersionNotFound {
            module: module.name.clone(),
            version,
            kept: format!(
                "{:?}",
                module
                    .versions
                    .iter()
                    .map(|v| v.version)
                    .collect::<Vec<_>>()
            ),
        })
}

fn limits(write: &TenantWrite) -> Result<Limits> {
    Limits::default()
        .with(&write.limits)
        .map_err(|error| PlaneError::InvalidValue {
            field: format!("limits.{}", error.key()),
            why: error.to_string(),
        })
}

impl MemoryPlane {
    pub(crate) fn new(now: u64) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            now,
            ready: Mutex::new(Ok(())),
            gate: Mutex::default(),
            at_gate: Notify::new(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn set_ready(&self, ready: std::result::Result<(), String>) {
        *self.ready.lock().unwrap() = ready;
    }

    /// A guest writes a line.
    pub(crate) fn write_line(&self, tenant: &TenantName, text: &str) {
        let mut state = self.state();
        let owner = state.owner_mut(tenant).unwrap();
        let line = LogLine {
            seq: owner.lines.last().map_or(1, |line| line.seq + 1),
            at_ms: self.now * 1000,
            module: "hello".to_owned(),
            request_id: "r".to_owned(),
            stream: LogStream::Stdout,
            text: text.to_owned(),
        };
        owner.lines.push(line.clone());
        // Nobody may be listening.
        let _ = owner.live.send(line);
    }

    /// How many log streams are open.
    pub(crate) fn log_streams(&self, tenant: &TenantName) -> usize {
        self.state().owner(tenant).unwrap().live.receiver_count()
    }

    async fn pass_gate(&self) {
        let gate = self.gate.lock().unwrap().clone();
        if let Some(gate) = gate {
            self.at_gate.notify_one();
            gate.notified().await;
        }
    }

    /// Everything about a statement that can be said before the bytes.
    fn check_statement(
        &self,
        tenant: &TenantName,
        module: &ModuleName,
        text: Option<&str>,
    ) -> Result<(Statement, KeyId)> {
        let signed = SignedStatement::parse(text.ok_or(PlaneError::StatementMissing)?)?;
        let kid = signed.kid()?;
        let state = self.state();
        let key = state
            .owner(tenant)?
            .keys
            .get(&kid)
            .ok_or_else(|| signed.publisher_unknown())?;
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

    /// The version that these bytes already are, where a statement repeats what was accepted.
    fn repeated(
        &self,
        tenant: &TenantName,
        statement: &Statement,
    ) -> Option<Revised<ModuleVersion>> {
        let state = self.state();
        let module = state.owner(tenant).ok()?.modules.get(&statement.module)?;
        let version = kept(&module.value, statement.version).ok()?;
        (version.digest == statement.digest).then(|| Revised {
            revision: module.revision,
            value: version.clone(),
        })
    }

    fn check_version(&self, tenant: &TenantName, statement: &Statement) -> Result<()> {
        let state = self.state();
        let highest = state.owner(tenant)?.highest.get(&statement.module);
        match highest {
            Some(highest) if statement.version <= *highest => Err(PlaneError::VersionNotAbove {
                module: statement.module.clone(),
                version: statement.version,
                highest: *highest,
            }),
            _ => Ok(()),
        }
    }

    /// Takes the bytes: their digest, their count, their first eight.
    async fn receive(
        &self,
        mut body: UploadBody,
        bytes_max: u64,
    ) -> Result<(Digest, u64, Vec<u8>)> {
        let (mut hash, mut bytes, mut first) = (Hash::new(&SHA256), 0_u64, Vec::new());
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
        let digest = Digest::from_bytes(hash.finish().as_ref().try_into().unwrap());
        Ok((digest, bytes, first))
    }

    fn bytes_max(&self, tenant: &TenantName) -> Result<u64> {
        let state = self.state();
        Ok(state.owner(tenant)?.limits()?.component_kib_max * 1024)
    }

    fn commit(
        &self,
        checked: Checked,
        caller: Caller,
    ) -> Result<(Revised<ModuleVersion>, Written)> {
        let mut state = self.state();
        state.owner(&checked.tenant)?;
        let resource = format!("{}@{}", checked.module, checked.statement.version);
        let revision = state.record(caller, "module.upload", &checked.tenant, resource, self.now);
        let version = ModuleVersion {
            version: checked.statement.version,
            digest: checked.statement.digest,
            component_bytes: checked.bytes,
            kid: checked.kid,
            accepted_at: self.now,
            world: "wasi:http/proxy@0.2".to_owned(),
            inspection: Inspection::default(),
        };
        let owner = state.owner_mut(&checked.tenant)?;
        owner
            .highest
            .insert(checked.module.clone(), version.version);
        let written = if owner.modules.contains_key(&checked.module) {
            Written::Updated
        } else {
            Written::Created
        };
        let module = owner
            .modules
            .entry(checked.module.clone())
            .or_insert_with(|| Revised {
                revision,
                value: Module {
                    name: checked.module.clone(),
                    active_version: 0,
                    highest_version: 0,
                    versions: Vec::new(),
                },
            });
        module.revision = revision;
        module.value.active_version = version.version;
        module.value.highest_version = version.version;
        module.value.versions.insert(0, version.clone());
        Ok((
            Revised {
                revision,
                value: version,
            },
            written,
        ))
    }
}

#[async_trait::async_trait]
impl ControlPlane for MemoryPlane {
    fn state(&self) -> NodeState {
        NodeState::Serving
    }

    fn ready(&self) -> Result<(), String> {
        self.ready.lock().unwrap().clone()
    }

    async fn status(&self) -> Result<NodeStatus> {
        let state = self.state();
        Ok(NodeStatus {
            node: super::NODE.to_owned(),
            version: "0.0.0".to_owned(),
            wasmtime: "none".to_owned(),
            state: NodeState::Serving,
            uptime_s: 1,
            http: vec!["127.0.0.1:8080".to_owned()],
            tenants: state.tenants.len() as u64,
            modules: state.tenants.values().map(|o| o.modules.len() as u64).sum(),
            routes: state.tenants.values().map(|o| o.routes.len() as u64).sum(),
            artifacts: 0,
            compile_queue: 0,
            worker: WorkerStatus {
                ready: true,
                pid: 1,
                restarts: 0,
                table_revision: state.revision,
                instances: 0,
                resident_modules: 0,
                confinement: Confinement {
                    filter: "enforced".to_owned(),
                    landlock_abi: 7,
                    user_id: 65_530,
                    without_capabilities: true,
                },
            },
            revision: state.revision,
        })
    }

    async fn metrics(&self) -> Result<String> {
        let tenants = self.state().tenants.len();
        Ok(format!(
            "# TYPE littoral_tenants gauge\nlittoral_tenants {tenants}\n"
        ))
    }

    async fn audit(&self, request: PageRequest) -> Result<Page<AuditEntry>> {
        let before: u64 = match &request.after {
            None => u64::MAX,
            Some(seq) => seq.parse().map_err(|_| PlaneError::InvalidValue {
                field: "after".to_owned(),
                why: "it is no sequence number".to_owned(),
            })?,
        };
        let state = self.state();
        let mut rest = state
            .audit
            .iter()
            .rev()
            .filter(|e| e.seq < before)
            .peekable();
        let items: Vec<_> = rest.by_ref().take(request.limit).cloned().collect();
        Ok(Page {
            next_after: rest
                .peek()
                .and_then(|_| items.last().map(|e| e.seq.to_string())),
            items,
        })
    }

    async fn tenants(&self, request: PageRequest) -> Result<Page<Tenant>> {
        let state = self.state();
        let views: Vec<_> = state
            .tenants
            .iter()
            .map(|(name, owner)| Ok((name, owner.view(name)?.value)))
            .collect::<Result<_>>()?;
        Ok(page(views.into_iter(), &request))
    }

    async fn tenant(&self, tenant: &TenantName) -> Result<Revised<Tenant>> {
        self.state().owner(tenant)?.view(tenant)
    }

    async fn put_tenant(
        &self,
        tenant: &TenantName,
        write: TenantWrite,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<(Revised<Tenant>, Written)> {
        self.pass_gate().await;
        limits(&write)?;
        let mut state = self.state();
        let there = state.tenants.get(tenant);
        holds(precondition, there.map(|owner| owner.revision))?;
        let written = match there {
            None => Written::Created,
            Some(owner) if owner.write == write => {
                return Ok((owner.view(tenant)?, Written::Unchanged));
            }
            Some(_) => Written::Updated,
        };
        let revision = state.record(caller, "tenant.set", tenant, tenant.to_string(), self.now);
        let now = self.now;
        let owner = state
            .tenants
            .entry(tenant.clone())
            .or_insert_with(|| Owner {
                revision,
                created_at: now,
                write: TenantWrite::default(),
                keys: BTreeMap::new(),
                modules: BTreeMap::new(),
                highest: BTreeMap::new(),
                routes: BTreeMap::new(),
                lines: Vec::new(),
                live: broadcast::channel(64).0,
            });
        owner.revision = revision;
        owner.write = write;
        Ok((owner.view(tenant)?, written))
    }

    async fn delete_tenant(
        &self,
        tenant: &TenantName,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<()> {
        let mut state = self.state();
        holds(precondition, Some(state.owner(tenant)?.revision))?;
        state.tenants.remove(tenant);
        state.record(
            caller,
            "tenant.delete",
            tenant,
            tenant.to_string(),
            self.now,
        );
        Ok(())
    }

    async fn usage(&self, tenant: &TenantName) -> Result<Usage> {
        let state = self.state();
        let owner = state.owner(tenant)?;
        Ok(Usage {
            modules: owner.modules.len() as u64,
            routes: owner.routes.len() as u64,
            publisher_keys: owner.keys.len() as u64,
            limits: owner.limits()?,
            refusals: BTreeMap::from([("deadline".to_owned(), 2)]),
            ..Usage::default()
        })
    }

    async fn logs(&self, tenant: &TenantName, query: LogQuery) -> Result<LogLines> {
        let state = self.state();
        let owner = state.owner(tenant)?;
        let mut lines: Vec<_> = owner
            .lines
            .iter()
            .filter(|line| query.after_seq.is_none_or(|after| line.seq > after))
            .cloned()
            .collect();
        if let Some(most) = query.lines_max {
            lines.drain(..lines.len().saturating_sub(most));
        }
        let kept = futures_util::stream::iter(lines);
        if !query.follow {
            return Ok(Box::pin(kept));
        }
        let live = futures_util::stream::unfold(owner.live.subscribe(), async |mut live| {
            let line = live.recv().await.ok()?;
            Some((line, live))
        });
        Ok(Box::pin(kept.chain(live)))
    }

    async fn keys(&self, tenant: &TenantName, request: PageRequest) -> Result<Page<PublisherKey>> {
        let state = self.state();
        let keys = &state.owner(tenant)?.keys;
        Ok(page(
            keys.iter().map(|(kid, key)| (kid, key.value.clone())),
            &request,
        ))
    }

    async fn key(&self, tenant: &TenantName, kid: &KeyId) -> Result<Revised<PublisherKey>> {
        let state = self.state();
        let key = state.owner(tenant)?.keys.get(kid).cloned();
        key.ok_or_else(|| PlaneError::KeyNotFound {
            tenant: tenant.clone(),
            kid: kid.clone(),
        })
    }

    async fn put_key(
        &self,
        tenant: &TenantName,
        kid: &KeyId,
        jwk: PublicJwk,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<(Revised<PublisherKey>, Written)> {
        let mut state = self.state();
        let owner = state.owner(tenant)?;
        let there = owner.keys.get(kid).cloned();
        holds(precondition, there.as_ref().map(|key| key.revision))?;
        let most = owner.limits()?.publisher_keys_max;
        let written = match &there {
            Some(key) if key.value.jwk == jwk => return Ok((key.clone(), Written::Unchanged)),
            Some(_) => Written::Updated,
            None if owner.keys.len() as u64 >= most => {
                return Err(PlaneError::LimitReached {
                    limit: "publisher_keys_max",
                    most,
                });
            }
            None => Written::Created,
        };
        let revision = state.record(caller, "key.set", tenant, kid.to_string(), self.now);
        let key = Revised {
            revision,
            value: PublisherKey {
                kid: kid.clone(),
                jwk,
                added_at: self.now,
            },
        };
        state
            .owner_mut(tenant)?
            .keys
            .insert(kid.clone(), key.clone());
        Ok((key, written))
    }

    async fn delete_key(
        &self,
        tenant: &TenantName,
        kid: &KeyId,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<()> {
        let current = self.key(tenant, kid).await?.revision;
        holds(precondition, Some(current))?;
        let mut state = self.state();
        state.owner_mut(tenant)?.keys.remove(kid);
        state.record(caller, "key.delete", tenant, kid.to_string(), self.now);
        Ok(())
    }

    async fn upload(
        &self,
        upload: Upload,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<UploadOutcome> {
        let (tenant, module) = (upload.tenant, upload.module);
        {
            let state = self.state();
            let owner = state.owner(&tenant)?;
            if owner.write.suspended {
                return Err(PlaneError::TenantSuspended { tenant });
            }
            holds(precondition, owner.modules.get(&module).map(|m| m.revision))?;
        }
        let (statement, kid) =
            self.check_statement(&tenant, &module, upload.statement.as_deref())?;
        let bytes_max = self.bytes_max(&tenant)?;
        if upload.declared_bytes.is_some_and(|bytes| bytes > bytes_max) {
            return Err(PlaneError::BodyTooLarge { bytes_max });
        }
        let repeated = self.repeated(&tenant, &statement);
        if repeated.is_none() {
            self.check_version(&tenant, &statement)?;
        }
        let (digest, bytes, first) = self.receive(upload.body, bytes_max).await?;
        if bytes == 0 {
            return Err(PlaneError::BodyEmpty);
        }
        if digest != statement.digest {
            return Err(PlaneError::DigestMismatch {
                stated: statement.digest,
                actual: digest,
            });
        }
        if let Some(version) = repeated {
            return Ok(UploadOutcome::Done {
                version,
                written: Written::Unchanged,
            });
        }
        self.pass_gate().await;
        let checked = Checked {
            tenant: tenant.clone(),
            module: module.clone(),
            kid,
            bytes,
            statement,
        };
        let component = first == PREAMBLE;
        if !upload.respond_async {
            if !component {
                return Err(not_a_component());
            }
            let (version, written) = self.commit(checked, caller)?;
            return Ok(UploadOutcome::Done { version, written });
        }
        let mut state = self.state();
        let id = format!("job-{}", state.jobs.len() + 1);
        let job = Job {
            id: id.clone(),
            module,
            version: checked.statement.version,
            state: JobState::Queued { position: 1 },
        };
        let checked = component.then_some((checked, caller));
        state.jobs.insert(
            id,
            Pending {
                tenant,
                job: job.clone(),
                checked,
            },
        );
        Ok(UploadOutcome::Accepted(job))
    }

    async fn upload_dry_run(&self, upload: Upload) -> Result<UploadDryRun> {
        let (tenant, module) = (upload.tenant, upload.module);
        let bytes_max = self.bytes_max(&tenant)?;
        let mut problems = Vec::new();
        let mut note = |error: PlaneError| {
            let problem = Problem::from_plane(&error, "");
            problems.push(DryRunProblem {
                problem_type: problem.problem_type,
                detail: problem.detail,
            });
        };
        if upload.statement.is_some()
            && let Err(error) = self.check_statement(&tenant, &module, upload.statement.as_deref())
        {
            note(error);
        }
        let (digest, bytes, first) = self.receive(upload.body, bytes_max).await?;
        if first != PREAMBLE {
            note(not_a_component());
        }
        let limits = self.state().owner(&tenant)?.limits()?;
        Ok(UploadDryRun {
            accepted: problems.is_empty(),
            problems,
            digest,
            component_bytes: bytes,
            world: Some("wasi:http/proxy@0.2".to_owned()),
            inspection: Inspection {
                imports: vec![Import {
                    name: "wasi:http/types@0.2.4".to_owned(),
                    granted: true,
                }],
                ..Inspection::default()
            },
            instance_memory_bytes_max: limits.instance_memory_mib_max * 1024 * 1024,
            fits: true,
            artifact_ready: false,
        })
    }

    async fn job(&self, tenant: &TenantName, id: &str) -> Result<Job> {
        let not_found = || PlaneError::JobNotFound { job: id.to_owned() };
        let step = {
            let mut state = self.state();
            state.owner(tenant)?;
            let pending = state
                .jobs
                .get_mut(id)
                .filter(|pending| pending.tenant == *tenant)
                .ok_or_else(not_found)?;
            match pending.job.state {
                JobState::Queued { .. } => {
                    pending.job.state = JobState::Compiling { running_ms: 1 };
                    None
                }
                JobState::Compiling { .. } => Some(pending.checked.take()),
                JobState::Done { .. } | JobState::Failed { .. } => None,
            }
        };
        if let Some(checked) = step {
            let outcome = match checked {
                None => Err(not_a_component()),
                Some((checked, caller)) => self.commit(checked, caller),
            };
            let end = match outcome {
                Ok((version, written)) => JobState::Done {
                    version: Box::new(version.value),
                    written,
                },
                Err(error) => JobState::Failed {
                    problem: Box::new(Problem::from_plane(&error, "the upload's request")),
                },
            };
            self.state()
                .jobs
                .get_mut(id)
                .ok_or_else(not_found)?
                .job
                .state = end;
        }
        Ok(self.state().jobs.get(id).ok_or_else(not_found)?.job.clone())
    }

    async fn modules(&self, tenant: &TenantName, request: PageRequest) -> Result<Page<Module>> {
        let state = self.state();
        let modules = &state.owner(tenant)?.modules;
        Ok(page(
            modules.iter().map(|(name, m)| (name, m.value.clone())),
            &request,
        ))
    }

    async fn module(&self, tenant: &TenantName, module: &ModuleName) -> Result<Revised<Module>> {
        self.state().owner(tenant)?.module(tenant, module).cloned()
    }

    async fn module_version(
        &self,
        tenant: &TenantName,
        module: &ModuleName,
        version: u64,
    ) -> Result<Revised<ModuleVersion>> {
        let state = self.state();
        let module = state.owner(tenant)?.module(tenant, module)?;
        Ok(Revised {
            revision: module.revision,
            value: kept(&module.value, version)?.clone(),
        })
    }

    async fn delete_module(
        &self,
        tenant: &TenantName,
        module: &ModuleName,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<()> {
        let mut state = self.state();
        let owner = state.owner(tenant)?;
        holds(precondition, Some(owner.module(tenant, module)?.revision))?;
        let routes: Vec<_> = owner
            .routes
            .iter()
            .filter(|(_, route)| route.value.module == *module)
            .map(|(id, _)| id.to_string())
            .collect();
        if !routes.is_empty() {
            return Err(PlaneError::ModuleInUse {
                module: module.clone(),
                routes: routes.join(", "),
            });
        }
        state.owner_mut(tenant)?.modules.remove(module);
        state.record(
            caller,
            "module.delete",
            tenant,
            module.to_string(),
            self.now,
        );
        Ok(())
    }

    async fn routes(&self, tenant: &TenantName, request: PageRequest) -> Result<Page<Route>> {
        let state = self.state();
        let owner = state.owner(tenant)?;
        let routes: Vec<_> = owner
            .routes
            .iter()
            .map(|(id, route)| Ok((id, owner.route_view(tenant, id, &route.value)?)))
            .collect::<Result<_>>()?;
        Ok(page(routes.into_iter(), &request))
    }

    async fn route(&self, tenant: &TenantName, route: &RouteId) -> Result<Revised<Route>> {
        let state = self.state();
        let owner = state.owner(tenant)?;
        let found = owner
            .routes
            .get(route)
            .ok_or_else(|| PlaneError::RouteNotFound {
                tenant: tenant.clone(),
                route: route.clone(),
            })?;
        Ok(Revised {
            revision: found.revision,
            value: owner.route_view(tenant, route, &found.value)?,
        })
    }

    async fn put_route(
        &self,
        tenant: &TenantName,
        route: &RouteId,
        write: RouteWrite,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<(Revised<Route>, Written)> {
        let answer = self
            .put_route_dry_run(tenant, route, write.clone(), precondition)
            .await?;
        if answer.would == Written::Unchanged {
            return Ok((self.route(tenant, route).await?, Written::Unchanged));
        }
        let mut state = self.state();
        let revision = state.record(caller, "route.set", tenant, route.to_string(), self.now);
        let written = Revised {
            revision,
            value: write,
        };
        state
            .owner_mut(tenant)?
            .routes
            .insert(route.clone(), written);
        Ok((
            Revised {
                revision,
                value: answer.route,
            },
            answer.would,
        ))
    }

    async fn put_route_dry_run(
        &self,
        tenant: &TenantName,
        route: &RouteId,
        write: RouteWrite,
        precondition: Precondition,
    ) -> Result<RouteDryRun> {
        if let Some(holder) = self.host_owner(route.host()).await?
            && holder != *tenant
        {
            return Err(PlaneError::HostTaken {
                host: route.host().clone(),
            });
        }
        let state = self.state();
        let owner = state.owner(tenant)?;
        let there = owner.routes.get(route);
        holds(precondition, there.map(|found| found.revision))?;
        let allowed = &owner.write.hosts;
        if !allowed.is_empty() && !allowed.iter().any(|pattern| pattern.covers(route.host())) {
            return Err(PlaneError::HostNotAllowed {
                host: route.host().clone(),
                allowed: format!("{allowed:?}"),
            });
        }
        let before = there
            .map(|found| owner.route_view(tenant, route, &found.value))
            .transpose()?;
        Ok(RouteDryRun {
            would: match there {
                None => Written::Created,
                Some(found) if found.value == write => Written::Unchanged,
                Some(_) => Written::Updated,
            },
            route: owner.route_view(tenant, route, &write)?,
            before,
        })
    }

    async fn delete_route(
        &self,
        tenant: &TenantName,
        route: &RouteId,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<()> {
        let current = self.route(tenant, route).await?.revision;
        holds(precondition, Some(current))?;
        let mut state = self.state();
        state.owner_mut(tenant)?.routes.remove(route);
        state.record(caller, "route.delete", tenant, route.to_string(), self.now);
        Ok(())
    }

    async fn host_owner(&self, host: &HostPattern) -> Result<Option<TenantName>> {
        let state = self.state();
        let holder = state
            .tenants
            .iter()
            .find(|(_, owner)| owner.routes.keys().any(|route| route.host() == host));
        Ok(holder.map(|(name, _)| name.clone()))
    }
}

fn not_a_component() -> PlaneError {
    PlaneError::NotAComponent {
        why: "it does not begin with a component's preamble".to_owned(),
    }
}
