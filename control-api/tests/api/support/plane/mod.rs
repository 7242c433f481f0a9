//! A control plane in memory: small, but it means what it says.
//!
//! It keeps revisions, preconditions, keys, statements, versions, routes and an audit log by the same rules as a node's.
//! What it leaves out is a compiler, and what the audit log says of before and after.

mod certificates;
mod databases;
mod keys;
mod modules;
mod routes;
mod state;
mod stores;
mod tenants;
mod uploads;
mod variables;

use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use control_api::archive::{ArchiveError, ArchiveWriter, Header, PassphraseKeys};
use control_api::error::{PlaneError, Problem};
use control_api::keypair::PrivateKey;
use control_api::plane::{
    BackupStream, Caller, ControlPlane, LogLines, LogQuery, Upload, UploadOutcome,
};
use control_api::view::*;
use edge_config::{CertificateName, KeyId, ModuleName, RouteId, StoreName, TenantName, VariableId};
use tokio::sync::Notify;

use state::{Result, State};
pub(crate) use uploads::PREAMBLE;
use uploads::{Checked, Received, not_a_component, receive};

pub(crate) struct MemoryPlane {
    state: Mutex<State>,
    ready: Mutex<std::result::Result<(), String>>,
    /// Where set, a change waits for this before it is made.
    pub(crate) gate: Mutex<Option<Arc<Notify>>>,
    /// Told when a change has reached the gate.
    pub(crate) at_gate: Notify,
}

impl MemoryPlane {
    pub(crate) fn new(now: u64) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State::new(now)),
            ready: Mutex::new(Ok(())),
            gate: Mutex::default(),
            at_gate: Notify::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn set_ready(&self, ready: std::result::Result<(), String>) {
        *self.ready.lock().unwrap() = ready;
    }

    /// A guest writes a line.
    pub(crate) fn write_line(&self, tenant: &TenantName, text: &str) {
        self.lock().write_line(tenant, text).unwrap();
    }

    /// What a guest would read.
    pub(crate) fn value_of(&self, tenant: &TenantName, id: &str) -> String {
        let state = self.lock();
        let values = &state.owner(tenant).unwrap().values;
        values[id].reveal().to_owned()
    }

    /// How many log streams are open.
    pub(crate) fn log_streams(&self, tenant: &TenantName) -> usize {
        self.lock().owner(tenant).unwrap().live.receiver_count()
    }

    async fn pass_gate(&self) {
        let gate = self.gate.lock().unwrap().clone();
        if let Some(gate) = gate {
            self.at_gate.notify_one();
            gate.notified().await;
        }
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
        Ok(self.lock().status())
    }

    async fn metrics(&self) -> Result<String> {
        let tenants = self.lock().tenants.len();
        Ok(format!(
            "# TYPE littoral_tenants gauge\nlittoral_tenants {tenants}\n"
        ))
    }

    async fn reload(&self, _: &Caller) -> Result<Reloaded> {
        Ok(Reloaded {
            changed: Vec::new(),
            worker_replaced: false,
        })
    }

    async fn upgrade(&self, _: &Caller) -> Result<Upgraded> {
        Ok(Upgraded {
            version_before: "0.0.0".to_owned(),
            version: "0.0.1".to_owned(),
            pid: 2,
        })
    }

    async fn audit(&self, request: PageRequest) -> Result<Page<AuditEntry>> {
        self.lock().audit(&request)
    }

    async fn backup(&self, write: BackupWrite, _: Caller) -> Result<BackupStream> {
        let refused = |error: ArchiveError| PlaneError::InvalidValue {
            field: "passphrase".to_owned(),
            why: error.to_string(),
        };
        let keys = write.passphrase.as_ref().map(PassphraseKeys::make);
        let (keys, sealing) = keys.transpose().map_err(refused)?.unzip();
        let header = Header {
            littoral: "0.1.0".to_owned(),
            node: "memory".to_owned(),
            created_at: 1,
            revision: 1,
            sealing,
        };
        let mut bytes = Vec::new();
        let mut archive = ArchiveWriter::begin(&mut bytes, &header, keys).unwrap();
        for tenant in self.lock().tenants.keys() {
            archive.record(tenant.as_ref().as_bytes(), b"").unwrap();
        }
        archive.finish().unwrap();
        Ok(Box::pin(futures_util::stream::iter([Ok(bytes.into())])))
    }

    async fn tenants(&self, request: PageRequest) -> Result<Page<Tenant>> {
        self.lock().tenants(&request)
    }

    async fn receipt(&self, tenant: &TenantName) -> Result<Receipt> {
        self.lock().owner(tenant)?;
        let usage = ReceiptClaims {
            iss: "memory".to_owned(),
            tenant: tenant.clone(),
            serial: 1,
            since: 1,
            iat: 2,
            requests: 3,
            request_body_bytes: 4,
            response_body_bytes: 5,
            cpu_ms: 6,
            memory_mib_s: 7,
        };
        let key = PrivateKey::generate().unwrap();
        Ok(Receipt {
            receipt: control_api::receipt::sign(&key, &usage),
            key: key.public(),
            usage,
        })
    }

    async fn holdings(&self, request: PageRequest) -> Result<Page<Holding>> {
        Ok(self.lock().holdings(&request))
    }

    async fn tenant(&self, tenant: &TenantName) -> Result<Revised<Tenant>> {
        self.lock().tenant(tenant)
    }

    async fn put_tenant(
        &self,
        tenant: &TenantName,
        write: TenantWrite,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<(Revised<Tenant>, Written)> {
        self.pass_gate().await;
        self.lock().put_tenant(tenant, write, precondition, caller)
    }

    async fn delete_tenant(
        &self,
        tenant: &TenantName,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<()> {
        self.lock().delete_tenant(tenant, precondition, caller)
    }

    async fn usage(&self, tenant: &TenantName) -> Result<Usage> {
        self.lock().usage(tenant)
    }

    async fn logs(&self, tenant: &TenantName, query: LogQuery) -> Result<LogLines> {
        self.lock().logs(tenant, &query)
    }

    async fn keys(&self, tenant: &TenantName, request: PageRequest) -> Result<Page<PublisherKey>> {
        self.lock().keys(tenant, &request)
    }

    async fn key(&self, tenant: &TenantName, kid: &KeyId) -> Result<Revised<PublisherKey>> {
        self.lock().key(tenant, kid)
    }

    async fn put_key(
        &self,
        tenant: &TenantName,
        kid: &KeyId,
        jwk: PublicJwk,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<(Revised<PublisherKey>, Written)> {
        self.lock().put_key(tenant, kid, jwk, precondition, caller)
    }

    async fn delete_key(
        &self,
        tenant: &TenantName,
        kid: &KeyId,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<()> {
        self.lock().delete_key(tenant, kid, precondition, caller)
    }

    async fn certificates(
        &self,
        tenant: &TenantName,
        request: PageRequest,
    ) -> Result<Page<Certificate>> {
        self.lock().certificates(tenant, &request)
    }

    async fn certificate(
        &self,
        tenant: &TenantName,
        certificate: &CertificateName,
    ) -> Result<Revised<Certificate>> {
        self.lock().certificate(tenant, certificate)
    }

    async fn put_certificate(
        &self,
        tenant: &TenantName,
        certificate: &CertificateName,
        write: CertificateWrite,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<(Revised<Certificate>, Written)> {
        let mut state = self.lock();
        state.put_certificate(tenant, certificate, &write, precondition, caller)
    }

    async fn delete_certificate(
        &self,
        tenant: &TenantName,
        certificate: &CertificateName,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<()> {
        let mut state = self.lock();
        state.delete_certificate(tenant, certificate, precondition, caller)
    }

    async fn variables(&self, tenant: &TenantName, request: PageRequest) -> Result<Page<Variable>> {
        self.lock().variables(tenant, &request)
    }

    async fn variable(&self, tenant: &TenantName, id: &VariableId) -> Result<Revised<Variable>> {
        self.lock().variable(tenant, id)
    }

    async fn put_variable(
        &self,
        tenant: &TenantName,
        id: &VariableId,
        write: VariableWrite,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<(Revised<Variable>, Written)> {
        self.lock()
            .put_variable(tenant, id, &write, precondition, caller)
    }

    async fn delete_variable(
        &self,
        tenant: &TenantName,
        id: &VariableId,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<()> {
        self.lock()
            .delete_variable(tenant, id, precondition, caller)
    }

    async fn upload(
        &self,
        upload: Upload,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<UploadOutcome> {
        let (tenant, module) = (upload.tenant, upload.module);
        let (statement, kid, repeated, bytes_max) = {
            let state = self.lock();
            let text = upload.statement.as_deref();
            let (statement, kid) = state.check_statement(&tenant, &module, text)?;
            let repeated = state.may_become(&tenant, &statement, precondition)?;
            (
                statement,
                kid,
                repeated,
                state.component_bytes_max(&tenant)?,
            )
        };
        if upload.declared_bytes.is_some_and(|bytes| bytes > bytes_max) {
            return Err(PlaneError::BodyTooLarge { bytes_max });
        }
        let received = receive(upload.body, bytes_max).await?;
        let (stated, actual) = (statement.digest, received.digest);
        if received.bytes == 0 {
            return Err(PlaneError::BodyEmpty);
        }
        if actual != stated {
            return Err(PlaneError::DigestMismatch { stated, actual });
        }
        if let Some(version) = repeated {
            return Ok(UploadOutcome::Done {
                version,
                written: Written::Unchanged,
            });
        }
        self.pass_gate().await;
        let checked = Checked {
            tenant,
            module,
            kid,
            bytes: received.bytes,
            statement,
        };
        let mut state = self.lock();
        if upload.respond_async {
            let job = state.begin_job(checked, received.is_component, caller);
            return Ok(UploadOutcome::Accepted(job));
        }
        if !received.is_component {
            return Err(not_a_component());
        }
        let (version, written) = state.commit(checked, caller)?;
        Ok(UploadOutcome::Done { version, written })
    }

    async fn upload_dry_run(
        &self,
        upload: Upload,
        precondition: Precondition,
    ) -> Result<UploadDryRun> {
        let (tenant, module) = (upload.tenant, upload.module);
        let mut problems = Vec::new();
        let (bytes_max, limits) = {
            let state = self.lock();
            let refused = match upload.statement.as_deref() {
                None => state.may_take(&tenant, &module, precondition).err(),
                text => state
                    .check_statement(&tenant, &module, text)
                    .and_then(|(statement, _)| state.may_become(&tenant, &statement, precondition))
                    .err(),
            };
            problems.extend(refused);
            let limits = state.owner(&tenant)?.limits()?;
            (state.component_bytes_max(&tenant)?, limits)
        };
        let Received {
            digest,
            bytes,
            is_component,
        } = receive(upload.body, bytes_max).await?;
        if !is_component {
            problems.push(not_a_component());
        }
        let problems = problems.iter().map(|error| {
            let problem = Problem::from_plane(error, "");
            DryRunProblem {
                problem_type: problem.problem_type,
                detail: problem.detail,
            }
        });
        let problems: Vec<_> = problems.collect();
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
                    needs: None,
                }],
                ..Inspection::default()
            },
            instance_memory_bytes_max: limits.instance_memory_mib_max * 1024 * 1024,
            fits: true,
            artifact_ready: false,
        })
    }

    async fn job(&self, tenant: &TenantName, id: &str) -> Result<Job> {
        self.lock().job(tenant, id)
    }

    async fn modules(&self, tenant: &TenantName, request: PageRequest) -> Result<Page<Module>> {
        self.lock().modules(tenant, &request)
    }

    async fn module(&self, tenant: &TenantName, module: &ModuleName) -> Result<Revised<Module>> {
        self.lock().owner(tenant)?.module(tenant, module).cloned()
    }

    async fn module_version(
        &self,
        tenant: &TenantName,
        module: &ModuleName,
        version: u64,
    ) -> Result<Revised<ModuleVersion>> {
        self.lock().module_version(tenant, module, version)
    }

    async fn databases(&self, tenant: &TenantName, page: PageRequest) -> Result<Page<Database>> {
        self.lock().databases(tenant, &page)
    }

    async fn delete_database(
        &self,
        tenant: &TenantName,
        database: &StoreName,
        _caller: Caller,
    ) -> Result<()> {
        self.lock().delete_database(tenant, database)
    }

    async fn query_database(
        &self,
        tenant: &TenantName,
        database: &StoreName,
        query: SqlQuery,
        _caller: Caller,
    ) -> Result<SqlResult> {
        self.lock().query_database(tenant, database, query)
    }

    async fn store_keys(
        &self,
        tenant: &TenantName,
        store: &StoreName,
        page: PageRequest,
    ) -> Result<Page<StoreKey>> {
        self.lock().store_keys(tenant, store, &page)
    }

    async fn store_value(
        &self,
        tenant: &TenantName,
        store: &StoreName,
        key: &str,
    ) -> Result<Vec<u8>> {
        self.lock().store_value(tenant, store, key)
    }

    async fn put_store_value(
        &self,
        tenant: &TenantName,
        store: &StoreName,
        key: &str,
        value: Bytes,
        _caller: Caller,
    ) -> Result<Written> {
        self.lock().put_store_value(tenant, store, key, value)
    }

    async fn delete_store_value(
        &self,
        tenant: &TenantName,
        store: &StoreName,
        key: &str,
        _caller: Caller,
    ) -> Result<()> {
        self.lock().delete_store_value(tenant, store, key)
    }

    async fn module_grants(
        &self,
        tenant: &TenantName,
        module: &ModuleName,
    ) -> Result<Revised<Grants>> {
        self.lock().grants(tenant, module)
    }

    async fn put_module_grants(
        &self,
        tenant: &TenantName,
        module: &ModuleName,
        write: Grants,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<(Revised<Grants>, Written)> {
        let mut state = self.lock();
        state.put_grants(tenant, module, write, precondition, caller)
    }

    async fn module_instances(
        &self,
        tenant: &TenantName,
        module: &ModuleName,
    ) -> Result<Revised<InstanceUse>> {
        self.lock().instances(tenant, module)
    }

    async fn put_module_instances(
        &self,
        tenant: &TenantName,
        module: &ModuleName,
        write: InstanceUse,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<(Revised<InstanceUse>, Written)> {
        let mut state = self.lock();
        state.put_instances(tenant, module, write, precondition, caller)
    }

    async fn delete_module(
        &self,
        tenant: &TenantName,
        module: &ModuleName,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<()> {
        let mut state = self.lock();
        state.delete_module(tenant, module, precondition, caller)
    }

    async fn routes(&self, tenant: &TenantName, request: PageRequest) -> Result<Page<Route>> {
        self.lock().routes(tenant, &request)
    }

    async fn route(&self, tenant: &TenantName, route: &RouteId) -> Result<Revised<Route>> {
        self.lock().route(tenant, route)
    }

    async fn put_route(
        &self,
        tenant: &TenantName,
        route: &RouteId,
        write: RouteWrite,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<(Revised<Route>, Written)> {
        let mut state = self.lock();
        state.put_route(tenant, route, write, precondition, caller)
    }

    async fn put_route_dry_run(
        &self,
        tenant: &TenantName,
        route: &RouteId,
        write: RouteWrite,
        precondition: Precondition,
    ) -> Result<RouteDryRun> {
        self.lock().try_route(tenant, route, &write, precondition)
    }

    async fn delete_route(
        &self,
        tenant: &TenantName,
        route: &RouteId,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<()> {
        self.lock()
            .delete_route(tenant, route, precondition, caller)
    }
}
