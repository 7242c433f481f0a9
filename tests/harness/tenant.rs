//! A tenant and its publisher.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest as hash};
use bytes::Bytes;
use control_api::client::{Client, ClientError, Component, UploadAnswer, UploadRequest};
use control_api::keypair::PrivateKey;
use control_api::statement::{self, Statement};
use control_api::view::{
    Certificate, CertificateWrite, Grants, InstanceUse, LogLine, ModuleVersion, PageRequest,
    Precondition, Route, RouteWrite, TenantWrite, Usage, Variable,
};
use edge_config::{CertificateName, Digest, ModuleName, RouteId, TenantName, VariableId};

use crate::tls::Issued;

const STATEMENT_LIFETIME_S: u64 = 600;

/// A tenant, with the key of its publisher and the operator's client.
#[derive(Clone)]
pub struct Tenant {
    client: Client,
    name: TenantName,
    key: Arc<PrivateKey>,
}

impl Tenant {
    /// Makes a key and has the tenant, which is there, trust it.
    pub async fn with_new_key(client: Client, name: TenantName) -> Self {
        let key = Arc::new(PrivateKey::generate().expect("a key"));
        let tenant = Self::with_key(client, name, key).await;
        tenant.expect("the key is taken")
    }

    /// Has the tenant, which is there, trust this key.
    ///
    /// # Errors
    /// The node's refusal, or its silence.
    pub async fn with_key(
        client: Client,
        name: TenantName,
        key: Arc<PrivateKey>,
    ) -> Result<Self, ClientError> {
        let kid = key.kid().parse().expect("a thumbprint is a key id");
        let public = key.public();
        client
            .put_key(&name, &kid, &public, Precondition::None)
            .await?;
        Ok(Self { client, name, key })
    }

    /// Its name.
    pub fn name(&self) -> &TenantName {
        &self.name
    }

    /// Its publisher's key.
    pub fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// The same tenant, asked for with another client.
    #[must_use]
    pub fn through(&self, client: &Client) -> Self {
        Self {
            client: client.clone(),
            ..self.clone()
        }
    }

    /// Uploads a guest as version 1 of a module of its name, routed as `<guest>.<tenant>.test/`.
    pub async fn guest(&self, guest: &str) -> &Self {
        self.version(guest, 1, component(guest)).await;
        self.route(&format!("{guest}.{}.test/", self.name), guest, None)
            .await
            .unwrap_or_else(|error| panic!("{guest}: {error:?}"));
        self
    }

    /// Uploads a version that must be accepted.
    pub async fn version(&self, module: &str, version: u64, bytes: Bytes) -> ModuleVersion {
        match self.upload(module, version, bytes).await {
            Ok(UploadAnswer::Done { version, .. }) => version.value,
            other => panic!("{module} version {version}: {other:?}"),
        }
    }

    /// Signs and uploads.
    ///
    /// # Errors
    /// The node's refusal.
    pub async fn upload(
        &self,
        module: &str,
        version: u64,
        bytes: Bytes,
    ) -> Result<UploadAnswer, ClientError> {
        self.send(&self.request(module, version, bytes)).await
    }

    /// Uploads with another statement than the right one.
    ///
    /// # Errors
    /// The node's refusal.
    pub async fn upload_stated(
        &self,
        module: &str,
        stated: &Statement,
        bytes: Bytes,
    ) -> Result<UploadAnswer, ClientError> {
        let mut request = self.request(module, 1, bytes);
        request.statement = Some(statement::sign(&self.key, stated));
        self.send(&request).await
    }

    /// Sends an upload.
    ///
    /// # Errors
    /// The node's refusal.
    pub async fn send(&self, request: &UploadRequest) -> Result<UploadAnswer, ClientError> {
        self.client.upload(request, |_| {}).await
    }

    /// A signed upload.
    pub fn request(&self, module: &str, version: u64, bytes: Bytes) -> UploadRequest {
        let stated = self.statement(module, version, &bytes);
        UploadRequest {
            tenant: self.name.clone(),
            module: name(module),
            statement: Some(statement::sign(&self.key, &stated)),
            component: Component::Bytes(bytes),
            precondition: Precondition::None,
            respond_async: false,
        }
    }

    /// The statement of an upload.
    pub fn statement(&self, module: &str, version: u64, bytes: &[u8]) -> Statement {
        let now = now_s();
        Statement {
            tenant: self.name.clone(),
            module: name(module),
            version,
            digest: digest(bytes),
            iat: now,
            exp: now + STATEMENT_LIFETIME_S,
        }
    }

    /// Sets a route; `place` is `host/path`.
    ///
    /// # Errors
    /// The node's refusal.
    pub async fn route(
        &self,
        place: &str,
        module: &str,
        version: Option<u64>,
    ) -> Result<Route, ClientError> {
        let write = RouteWrite {
            module: name(module),
            version,
        };
        let id = route(place);
        let put = self
            .client
            .put_route(&self.name, &id, &write, Precondition::None);
        Ok(put.await?.resource.value)
    }

    /// Removes a route.
    ///
    /// # Errors
    /// The node's refusal.
    pub async fn unroute(&self, place: &str) -> Result<(), ClientError> {
        let id = route(place);
        let delete = self
            .client
            .delete_route(&self.name, &id, Precondition::None);
        delete.await
    }

    /// Removes a module.
    ///
    /// # Errors
    /// The node's refusal.
    pub async fn delete_module(&self, module: &str) -> Result<(), ClientError> {
        let module = name(module);
        let delete = self
            .client
            .delete_module(&self.name, &module, Precondition::None);
        delete.await
    }

    /// Has a certificate served.
    ///
    /// # Errors
    /// The node's refusal.
    pub async fn certificate(
        &self,
        name: &str,
        issued: &Issued,
    ) -> Result<Certificate, ClientError> {
        let write = CertificateWrite {
            chain: issued.chain.clone(),
            key: issued.key.clone().into(),
        };
        let name = certificate_name(name);
        let put = self
            .client
            .put_certificate(&self.name, &name, &write, Precondition::None);
        Ok(put.await?.resource.value)
    }

    /// Has a certificate forgotten.
    ///
    /// # Errors
    /// The node's refusal.
    pub async fn delete_certificate(&self, name: &str) -> Result<(), ClientError> {
        let name = certificate_name(name);
        let delete = self
            .client
            .delete_certificate(&self.name, &name, Precondition::None);
        delete.await
    }

    /// Says how a module's instances are used, for instance `{"mode": "reuse", "requests_max": 10}`.
    ///
    /// # Errors
    /// The node's refusal.
    pub async fn instances(
        &self,
        module: &str,
        asked: serde_json::Value,
    ) -> Result<InstanceUse, ClientError> {
        let (module, asked) = (name(module), serde_json::from_value(asked));
        let asked = asked.expect("a mode, and figures with the names of the API");
        let put = self
            .client
            .put_module_instances(&self.name, &module, &asked, Precondition::None);
        Ok(put.await?.resource.value)
    }

    /// Says what a module's guests are granted, for instance `{"key_value": ["default"]}`.
    ///
    /// # Errors
    /// The node's refusal.
    pub async fn grants(
        &self,
        module: &str,
        asked: serde_json::Value,
    ) -> Result<Grants, ClientError> {
        let (module, asked) = (name(module), serde_json::from_value(asked));
        let asked = asked.expect("grants with the names of the API");
        let put = self
            .client
            .put_module_grants(&self.name, &module, &asked, Precondition::None);
        Ok(put.await?.resource.value)
    }

    /// Sets a variable, for instance `greeting` or `hello/greeting` to `{"value": "hello", "secret": true}`.
    ///
    /// # Errors
    /// The node's refusal.
    pub async fn variable(
        &self,
        id: &str,
        asked: serde_json::Value,
    ) -> Result<Variable, ClientError> {
        let asked = serde_json::from_value(asked).expect("a value, and whether it is secret");
        let id = variable(id);
        let put = self
            .client
            .put_variable(&self.name, &id, &asked, Precondition::None);
        Ok(put.await?.resource.value)
    }

    /// Removes a variable.
    ///
    /// # Errors
    /// The node's refusal.
    pub async fn delete_variable(&self, id: &str) -> Result<(), ClientError> {
        let id = variable(id);
        let delete = self
            .client
            .delete_variable(&self.name, &id, Precondition::None);
        delete.await
    }

    /// The ids of its variables.
    pub async fn variables(&self) -> Vec<String> {
        let page = PageRequest {
            after: None,
            limit: 1000,
        };
        let page = self.client.variables(&self.name, &page).await;
        let page = page.expect("the node answers");
        page.items.iter().map(|one| one.id.to_string()).collect()
    }

    /// Replaces its limits.
    pub async fn limit(&self, limits: serde_json::Value) {
        let write = TenantWrite {
            limits: serde_json::from_value(limits).expect("names of limits"),
            ..TenantWrite::default()
        };
        self.settings(&write).await;
    }

    /// Replaces its settings.
    pub async fn settings(&self, write: &TenantWrite) {
        let put = self
            .client
            .put_tenant(&self.name, write, Precondition::None);
        put.await.expect("the settings are taken");
    }

    /// What it uses.
    pub async fn usage(&self) -> Usage {
        self.client
            .usage(&self.name)
            .await
            .expect("the node answers")
    }

    /// The newest lines of its guests, oldest first.
    pub async fn logs(&self) -> Vec<LogLine> {
        let logs = self.client.logs(&self.name, None, 1000);
        logs.await.expect("the node answers")
    }
}

fn name(module: &str) -> ModuleName {
    module.parse().expect("a module name")
}

fn certificate_name(name: &str) -> CertificateName {
    name.parse().expect("a certificate name")
}

fn variable(id: &str) -> VariableId {
    id.parse().expect("a name, or module/name")
}

fn route(place: &str) -> RouteId {
    place.parse().expect("a route is host/path")
}

/// The bytes of a guest of `tests/guests`.
pub fn component(guest: &str) -> Bytes {
    let built = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("guests/built");
    let path = built.join(format!("{guest}.wasm"));
    std::fs::read(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .into()
}

/// The same component with a custom section more (component model, Binary.md): it does the same under another digest.
pub fn with_section(component: &[u8], content: &str) -> Bytes {
    let mut section = Vec::new();
    let name = b"tests";
    section.push(u8::try_from(name.len()).expect("a short name"));
    section.extend_from_slice(name);
    section.extend_from_slice(content.as_bytes());
    let mut bytes = component.to_vec();
    // Section id 0, then the length as LEB128: seven bits a byte, the lowest first, the high bit where more follow.
    bytes.push(0);
    let mut length = section.len();
    while length >= 0x80 {
        bytes.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend(section);
    bytes.into()
}

/// The digest of an upload's bytes.
pub fn digest(bytes: &[u8]) -> Digest {
    let digest = hash(&SHA256, bytes);
    Digest::from_bytes(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
}

/// Seconds since 1970.
pub fn now_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("the clock is past 1970")
        .as_secs()
}

/// The kind of problem that a call was refused with.
pub fn refusal<T: std::fmt::Debug>(outcome: Result<T, ClientError>) -> String {
    let error = outcome.expect_err("a refusal");
    let kind = error.problem().and_then(|problem| problem.kind());
    kind.unwrap_or_else(|| panic!("a problem, not {error:?}"))
        .slug()
        .to_owned()
}
