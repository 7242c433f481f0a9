//! The one trait that does the work behind the API.
//!
//! A [`ControlPlane`] knows nothing of HTTP. Access was checked before any of these is called: a `tenant` argument is
//! one the caller may see. Every call that changes something returns only after the change is durable, and changes
//! run to their end even where the caller goes away.

use std::convert::Infallible;
use std::pin::Pin;

use bytes::Bytes;
use edge_config::{CertificateName, KeyId, ModuleName, RouteId, StoreName, TenantName, VariableId};
use futures_util::Stream;

use crate::error::PlaneError;
use crate::view::{
    AuditEntry, BackupWrite, Certificate, CertificateWrite, Database, Grants, Holding, InstanceUse,
    Job, LogLine, Module, ModuleVersion, NodeState, NodeStatus, Page, PageRequest, Precondition,
    PublicJwk, PublisherKey, Receipt, Reloaded, Revised, Route, RouteDryRun, RouteWrite, SqlQuery,
    SqlResult, StoreKey, Tenant, TenantWrite, Upgraded, UploadDryRun, Usage, Variable,
    VariableWrite, Written,
};

/// Who asks for a change, for the audit log.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The token's subject and issuer.
    pub who: String,
    /// The request's id.
    pub request_id: String,
}

/// The bytes of an upload as they arrive.
pub type UploadBody = Pin<Box<dyn Stream<Item = Result<Bytes, BodyError>> + Send>>;

/// The body ended before it was whole.
#[derive(Debug, thiserror::Error)]
#[error("the request body broke off")]
pub struct BodyError;

/// One upload: the statement first, the bytes only when the plane asks for them.
pub struct Upload {
    /// The tenant in the path.
    pub tenant: TenantName,
    /// The module in the path.
    pub module: ModuleName,
    /// The `Module-Signature` header: a compact JWS; absent is allowed in a dry run only.
    pub statement: Option<String>,
    /// `Content-Length`, where the client sent one.
    pub declared_bytes: Option<u64>,
    /// The bytes.
    pub body: UploadBody,
    /// Answer as soon as the bytes are in (`Prefer: respond-async`, RFC 7240 §4.1).
    pub respond_async: bool,
}

/// What became of an upload.
#[derive(Debug)]
pub enum UploadOutcome {
    /// Compiled and durable.
    Done {
        /// The version as it is now.
        version: Revised<ModuleVersion>,
        /// [`Written::Unchanged`] where the same upload had been accepted before.
        written: Written,
    },
    /// The bytes are in; the rest is a job.
    Accepted(Job),
}

/// A tenant's log lines: those in the ring, then, when following, those to come.
pub type LogLines = Pin<Box<dyn Stream<Item = LogLine> + Send>>;

/// An archive as it is written. Whether it came whole is in the archive itself.
pub type BackupStream = Pin<Box<dyn Stream<Item = Result<Bytes, Infallible>> + Send>>;

/// Which log lines are asked for.
#[derive(Debug, Clone, Default)]
pub struct LogQuery {
    /// Only lines after this sequence number.
    pub after_seq: Option<u64>,
    /// At most this many of the newest lines to begin with.
    pub lines_max: Option<usize>,
    /// Stay and send what comes.
    pub follow: bool,
}

/// What may be asked of a node.
#[async_trait::async_trait]
pub trait ControlPlane: Send + Sync + 'static {
    /// Where the node stands; readiness is [`NodeState::Serving`] with a worker that answers.
    fn state(&self) -> NodeState;
    /// Whether requests would be served now; the text says what is missing.
    fn ready(&self) -> Result<(), String>;
    /// The node's own figures.
    async fn status(&self) -> Result<NodeStatus, PlaneError>;
    /// The Prometheus text exposition (format 0.0.4).
    async fn metrics(&self) -> Result<String, PlaneError>;
    /// Reads the configuration anew and applies what changed, all or nothing.
    async fn reload(&self, caller: &Caller) -> Result<Reloaded, PlaneError>;
    /// Has the program that is on the disk now take this process's place; returns when it serves.
    async fn upgrade(&self, caller: &Caller) -> Result<Upgraded, PlaneError>;
    /// The newest changes first; `after` is the sequence number to go on below.
    async fn audit(&self, page: PageRequest) -> Result<Page<AuditEntry>, PlaneError>;

    /// The whole node as an archive ([`crate::archive`]), while it serves.
    async fn backup(&self, write: BackupWrite, caller: Caller) -> Result<BackupStream, PlaneError>;

    /// Tenants in order of name.
    async fn tenants(&self, page: PageRequest) -> Result<Page<Tenant>, PlaneError>;
    /// One tenant.
    async fn tenant(&self, tenant: &TenantName) -> Result<Revised<Tenant>, PlaneError>;

    /// Tenants with all they have, in order of name. A page may have fewer than were asked for, where they have a lot.
    async fn holdings(&self, page: PageRequest) -> Result<Page<Holding>, PlaneError>;
    /// Creates or replaces a tenant's settings.
    async fn put_tenant(
        &self,
        tenant: &TenantName,
        write: TenantWrite,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<(Revised<Tenant>, Written), PlaneError>;
    /// Removes a tenant with everything it has.
    async fn delete_tenant(
        &self,
        tenant: &TenantName,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<(), PlaneError>;
    /// What a tenant uses.
    async fn usage(&self, tenant: &TenantName) -> Result<Usage, PlaneError>;

    /// A signed receipt of what a tenant used, durable before it is given.
    async fn receipt(&self, tenant: &TenantName) -> Result<Receipt, PlaneError>;
    /// What its guests wrote.
    async fn logs(&self, tenant: &TenantName, query: LogQuery) -> Result<LogLines, PlaneError>;

    /// A tenant's publisher keys in order of id.
    async fn keys(
        &self,
        tenant: &TenantName,
        page: PageRequest,
    ) -> Result<Page<PublisherKey>, PlaneError>;
    /// One publisher key.
    async fn key(
        &self,
        tenant: &TenantName,
        kid: &KeyId,
    ) -> Result<Revised<PublisherKey>, PlaneError>;
    /// Trusts a publisher key.
    async fn put_key(
        &self,
        tenant: &TenantName,
        kid: &KeyId,
        jwk: PublicJwk,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<(Revised<PublisherKey>, Written), PlaneError>;
    /// Stops trusting a publisher key; what it signed and was accepted stays.
    async fn delete_key(
        &self,
        tenant: &TenantName,
        kid: &KeyId,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<(), PlaneError>;

    /// A tenant's certificates in order of name.
    async fn certificates(
        &self,
        tenant: &TenantName,
        page: PageRequest,
    ) -> Result<Page<Certificate>, PlaneError>;
    /// One certificate.
    async fn certificate(
        &self,
        tenant: &TenantName,
        certificate: &CertificateName,
    ) -> Result<Revised<Certificate>, PlaneError>;
    /// Serves a chain with its key, in the place of the one of that name.
    async fn put_certificate(
        &self,
        tenant: &TenantName,
        certificate: &CertificateName,
        write: CertificateWrite,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<(Revised<Certificate>, Written), PlaneError>;
    /// Forgets a certificate and its key; open connections go on.
    async fn delete_certificate(
        &self,
        tenant: &TenantName,
        certificate: &CertificateName,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<(), PlaneError>;

    /// A tenant's variables in order of id, those of its modules among them; secrets without their values.
    async fn variables(
        &self,
        tenant: &TenantName,
        page: PageRequest,
    ) -> Result<Page<Variable>, PlaneError>;
    /// One variable; a secret without its value.
    async fn variable(
        &self,
        tenant: &TenantName,
        variable: &VariableId,
    ) -> Result<Revised<Variable>, PlaneError>;
    /// Sets a variable, which guests read from their next call on. To write a secret is a change, whatever it was.
    async fn put_variable(
        &self,
        tenant: &TenantName,
        variable: &VariableId,
        write: VariableWrite,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<(Revised<Variable>, Written), PlaneError>;
    /// Removes a variable.
    async fn delete_variable(
        &self,
        tenant: &TenantName,
        variable: &VariableId,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<(), PlaneError>;

    /// Takes an upload: statement first, then bytes, then inspection and compilation.
    async fn upload(
        &self,
        upload: Upload,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<UploadOutcome, PlaneError>;
    /// What an upload would do; nothing is kept.
    async fn upload_dry_run(
        &self,
        upload: Upload,
        precondition: Precondition,
    ) -> Result<UploadDryRun, PlaneError>;
    /// An upload that was accepted with 202.
    async fn job(&self, tenant: &TenantName, id: &str) -> Result<Job, PlaneError>;
    /// A tenant's modules in order of name.
    async fn modules(
        &self,
        tenant: &TenantName,
        page: PageRequest,
    ) -> Result<Page<Module>, PlaneError>;
    /// One module.
    async fn module(
        &self,
        tenant: &TenantName,
        module: &ModuleName,
    ) -> Result<Revised<Module>, PlaneError>;
    /// One kept version.
    async fn module_version(
        &self,
        tenant: &TenantName,
        module: &ModuleName,
        version: u64,
    ) -> Result<Revised<ModuleVersion>, PlaneError>;
    /// Keys of one of a tenant's key-value stores, in order.
    async fn store_keys(
        &self,
        tenant: &TenantName,
        store: &StoreName,
        page: PageRequest,
    ) -> Result<Page<StoreKey>, PlaneError>;
    /// The value of a key.
    async fn store_value(
        &self,
        tenant: &TenantName,
        store: &StoreName,
        key: &str,
    ) -> Result<Vec<u8>, PlaneError>;
    /// Sets a key to a value.
    async fn put_store_value(
        &self,
        tenant: &TenantName,
        store: &StoreName,
        key: &str,
        value: Bytes,
        caller: Caller,
    ) -> Result<Written, PlaneError>;
    /// Removes a key.
    async fn delete_store_value(
        &self,
        tenant: &TenantName,
        store: &StoreName,
        key: &str,
        caller: Caller,
    ) -> Result<(), PlaneError>;
    /// A tenant's SQL databases, in order of name.
    async fn databases(
        &self,
        tenant: &TenantName,
        page: PageRequest,
    ) -> Result<Page<Database>, PlaneError>;
    /// Removes a database.
    async fn delete_database(
        &self,
        tenant: &TenantName,
        database: &StoreName,
        caller: Caller,
    ) -> Result<(), PlaneError>;
    /// Carries out one statement on a database that is there.
    async fn query_database(
        &self,
        tenant: &TenantName,
        database: &StoreName,
        query: SqlQuery,
        caller: Caller,
    ) -> Result<SqlResult, PlaneError>;
    /// What a module's guests are granted; the revision is the module's.
    async fn module_grants(
        &self,
        tenant: &TenantName,
        module: &ModuleName,
    ) -> Result<Revised<Grants>, PlaneError>;
    /// Says what a module's guests are granted, from the next request on and for every version.
    async fn put_module_grants(
        &self,
        tenant: &TenantName,
        module: &ModuleName,
        write: Grants,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<(Revised<Grants>, Written), PlaneError>;
    /// How a module's instances are used; the revision is the module's.
    async fn module_instances(
        &self,
        tenant: &TenantName,
        module: &ModuleName,
    ) -> Result<Revised<InstanceUse>, PlaneError>;
    /// Says how a module's instances are used, from the next request on and for every version.
    async fn put_module_instances(
        &self,
        tenant: &TenantName,
        module: &ModuleName,
        write: InstanceUse,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<(Revised<InstanceUse>, Written), PlaneError>;
    /// Removes a module with its versions; refused while a route serves it.
    async fn delete_module(
        &self,
        tenant: &TenantName,
        module: &ModuleName,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<(), PlaneError>;

    /// A tenant's routes in order of id.
    async fn routes(
        &self,
        tenant: &TenantName,
        page: PageRequest,
    ) -> Result<Page<Route>, PlaneError>;
    /// One route.
    async fn route(
        &self,
        tenant: &TenantName,
        route: &RouteId,
    ) -> Result<Revised<Route>, PlaneError>;
    /// Sets a route.
    async fn put_route(
        &self,
        tenant: &TenantName,
        route: &RouteId,
        write: RouteWrite,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<(Revised<Route>, Written), PlaneError>;
    /// What setting a route would do.
    async fn put_route_dry_run(
        &self,
        tenant: &TenantName,
        route: &RouteId,
        write: RouteWrite,
        precondition: Precondition,
    ) -> Result<RouteDryRun, PlaneError>;
    /// Removes a route.
    async fn delete_route(
        &self,
        tenant: &TenantName,
        route: &RouteId,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<(), PlaneError>;
}
