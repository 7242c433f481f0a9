//! A node of its own: `littorald run`, with a folder, a configuration and free ports.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Weak};

use control_api::auth::Scope;
use control_api::client::Client;
use control_api::keypair::PrivateKey;
use control_api::token::{TokenRequest, mint};
use control_api::view::{NodeStatus, Precondition, TenantWrite};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::sync::Mutex;

use crate::binary::littorald;
use crate::process::{Process, end};
use crate::tenant::{Tenant, now_s};
use crate::wait::until;
use crate::wire::{Answer, Ask, Wire};

/// The node's name, and the audience of its tokens.
pub(crate) const NODE: &str = "test-node";
const TOKEN_LIFETIME_S: u64 = 3600;

/// What a node is started with.
pub struct Builder {
    keys: Vec<(String, serde_json::Value)>,
    home: TempDir,
    issuer: Option<Arc<PrivateKey>>,
    under: Vec<String>,
    environment: Vec<(String, OsString)>,
    sockets: Vec<(String, OwnedFd)>,
}

/// A node under test. Ends when dropped.
pub struct TestEdge {
    home: TempDir,
    process: Process,
    http: SocketAddr,
    client: Client,
    issuer: Option<Arc<PrivateKey>>,
    environment: Vec<(String, OsString)>,
    under: Vec<String>,
    address_space_bytes_max: Option<u64>,
    sockets: Vec<(String, OwnedFd)>,
}

impl Builder {
    /// Sets a configuration key, for instance `uploads.concurrent_max`.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl Into<serde_json::Value>) -> Self {
        self.keys.push((key.to_owned(), value.into()));
        self
    }

    /// Has the node believe tokens of this key, whose public half is in this JWKS file, and no others.
    #[must_use]
    pub fn trusting(mut self, issuer: PrivateKey, jwks: PathBuf) -> Self {
        self.issuer = Some(Arc::new(issuer));
        self.set("auth.jwks_files", serde_json::json!([text(&jwks)]))
    }

    /// Starts the node by way of another program, which must not fork.
    #[must_use]
    pub fn under(mut self, command: &[&str]) -> Self {
        self.under = command.iter().map(ToString::to_string).collect();
        self
    }

    /// Has the node believe tokens of this key, whose public half is published there, and no others.
    #[must_use]
    pub fn trusting_url(mut self, issuer: PrivateKey, url: &str) -> Self {
        self.issuer = Some(Arc::new(issuer));
        self.set("auth.jwks_url", url)
    }

    /// Variables that the node is started with.
    #[must_use]
    pub fn environment(mut self, environment: Vec<(String, OsString)>) -> Self {
        self.environment = environment;
        self
    }

    /// Passes open sockets by name, as a service manager does; they stay open when the node ends.
    #[must_use]
    pub fn passing(mut self, sockets: [(&str, OwnedFd); 2]) -> Self {
        self.sockets = sockets
            .into_iter()
            .map(|(name, socket)| (name.to_owned(), socket))
            .collect();
        self
    }

    /// The folder that the node will have, to put files there.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Starts the node and waits until it serves.
    pub async fn start(self) -> TestEdge {
        let home = self.home.path();
        let text: String = [
            ("node.name", NODE.into()),
            ("node.data_dir", text(&home.join("data"))),
            ("admin.listen", "127.0.0.1:0".into()),
            ("admin.unix_socket", text(&home.join("admin.sock"))),
            ("http.listen", serde_json::json!(["127.0.0.1:0"])),
        ]
        .into_iter()
        .filter(|(key, _)| self.keys.iter().all(|(own, _)| own != key))
        .map(|(key, value)| (key.to_owned(), value))
        .chain(self.keys.clone())
        // A JSON string, number or list is also one of TOML.
        .map(|(key, value)| format!("{key} = {value}\n"))
        .collect();
        std::fs::write(home.join("littoral.toml"), text).expect("the folder is ours");
        let mut process = start(home, &self.environment, &self.under, None, &self.sockets);
        let Some((client, http)) = ready(home, self.issuer.as_deref(), &mut process).await else {
            panic!("littorald ended:\n{}", process.log_tail());
        };
        TestEdge {
            home: self.home,
            process,
            http,
            client,
            issuer: self.issuer,
            environment: self.environment,
            under: self.under,
            address_space_bytes_max: None,
            sockets: self.sockets,
        }
    }
}

fn list(folder: &Path, files: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            list(&path, files);
        } else {
            files.push(path.display().to_string());
        }
    }
}

fn text(path: &Path) -> serde_json::Value {
    path.to_str()
        .expect("temporary folders have plain names")
        .into()
}

fn start(
    home: &Path,
    environment: &[(String, OsString)],
    under: &[String],
    address_space_bytes_max: Option<u64>,
    sockets: &[(String, OwnedFd)],
) -> Process {
    let config = home.join("littoral.toml");
    let node = littorald().to_str().expect("a plain name");
    let config = config.to_str().expect("a plain name");
    let limit = address_space_bytes_max
        .map(|bytes| format!("ulimit -v {} && exec \"$0\" \"$@\"", bytes >> 10));
    let limited = limit.iter().flat_map(|limit| ["/bin/sh", "-c", limit]);
    // Two sockets come as standard input and output, so that no other child of the tests has them, and go to where a
    // manager puts them.
    let passed = [
        "/bin/bash",
        "-c",
        "exec 3<&0 4<&1 0</dev/null 1>&0; LISTEN_PID=$$ exec \"$0\" \"$@\"",
    ];
    let passed = (!sockets.is_empty()).then_some(passed);
    let mut environment = environment.to_vec();
    if !sockets.is_empty() {
        let names: Vec<_> = sockets.iter().map(|(name, _)| name.as_str()).collect();
        environment.extend([
            ("LISTEN_FDS".to_owned(), sockets.len().to_string().into()),
            ("LISTEN_FDNAMES".to_owned(), names.join(":").into()),
        ]);
    }
    let mut streams = sockets.iter().map(|(_, socket)| {
        let again = socket.try_clone().expect("descriptors are left");
        Stdio::from(again)
    });
    let command: Vec<&str> = under
        .iter()
        .map(String::as_str)
        .chain(limited)
        .chain(passed.into_iter().flatten())
        .chain([node, "run", "--config", config])
        .collect();
    let (program, arguments) = command.split_first().expect("the node at least");
    let log = home.join("log");
    Process::start_with(
        Path::new(program),
        arguments,
        &environment,
        streams.next().unwrap_or_else(Stdio::null),
        streams.next().unwrap_or_else(Stdio::null),
        &log,
    )
}

/// Waits until a node serves; gives its client and where it serves, or nothing if it has ended instead.
async fn ready(
    home: &Path,
    issuer: Option<&PrivateKey>,
    process: &mut Process,
) -> Option<(Client, SocketAddr)> {
    let key = home.join("data/keys/admin.key");
    until("the node is ready", async || {
        if process.ended().is_some() {
            return Some(None);
        }
        let client = match issuer {
            Some(issuer) => client_of(home, issuer),
            None => client_of(home, &PrivateKey::read(&key).ok()?),
        };
        client.ready().await.ok()?;
        let status = client.status().await.ok()?;
        Some(Some((client, status.http.first()?.parse().ok()?)))
    })
    .await
}

fn client_of(home: &Path, key: &PrivateKey) -> Client {
    let token = token(key, "operator", &[Scope::NodeAdmin], None);
    let socket = format!("unix:{}", home.join("admin.sock").display());
    Client::new(&socket, Some(token)).expect("a socket is an address")
}

fn token(key: &PrivateKey, who: &str, scopes: &[Scope], tenant: Option<&str>) -> String {
    let request = TokenRequest {
        issuer: "littoral".to_owned(),
        subject: who.to_owned(),
        audience: NODE.to_owned(),
        scopes: scopes.to_vec(),
        tenant: tenant.map(|name| name.parse().expect("a tenant name")),
        lifetime_s: TOKEN_LIFETIME_S,
    };
    mint(key, &request, now_s()).expect("a useful token")
}

impl TestEdge {
    /// A node with the defaults, started and serving.
    pub async fn start() -> Self {
        Self::build().start().await
    }

    /// A node to be configured.
    pub fn build() -> Builder {
        Builder {
            keys: Vec::new(),
            home: tempfile::tempdir().expect("a temporary folder"),
            issuer: None,
            under: Vec::new(),
            environment: Vec::new(),
            sockets: Vec::new(),
        }
    }

    /// Makes a tenant with a publisher's key of its own.
    pub async fn tenant(&self, name: &str) -> Tenant {
        self.tenant_with(name, &TenantWrite::default()).await
    }

    /// Makes a tenant with limits, named as in the configuration.
    pub async fn tenant_limited(&self, name: &str, limits: serde_json::Value) -> Tenant {
        let limits = serde_json::from_value(limits).expect("names of limits");
        let write = TenantWrite {
            limits,
            ..TenantWrite::default()
        };
        self.tenant_with(name, &write).await
    }

    /// Makes a tenant with these settings.
    pub async fn tenant_with(&self, name: &str, write: &TenantWrite) -> Tenant {
        let name = name.parse().expect("a tenant name");
        let made = self.client.put_tenant(&name, write, Precondition::Absent);
        made.await.unwrap_or_else(|error| panic!("{name}: {error}"));
        Tenant::with_new_key(self.client.clone(), name).await
    }

    /// The operator's client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// A client with a token of these scopes.
    pub fn client_as(&self, scopes: &[Scope], tenant: Option<&str>) -> Client {
        let token = self.token(scopes, tenant);
        Client::new(&self.admin(), Some(token)).expect("a socket is an address")
    }

    /// A token of these scopes.
    pub fn token(&self, scopes: &[Scope], tenant: Option<&str>) -> String {
        token(&self.admin_key(), "tester", scopes, tenant)
    }

    /// The key whose tokens the node believes.
    pub fn admin_key(&self) -> PrivateKey {
        let path = self.data().join("keys/admin.key");
        PrivateKey::read(&path).expect("the node made a key")
    }

    /// The admin API's address for a client.
    pub fn admin(&self) -> String {
        format!("unix:{}", self.home.path().join("admin.sock").display())
    }

    /// The admin API's address over TCP, as the node logged it.
    pub async fn admin_tcp(&self) -> SocketAddr {
        until("the node says where it listens", async || {
            let log = self.log();
            let (_, rest) = log.split_once("admin=[")?;
            rest.split([',', ']']).next()?.parse().ok()
        })
        .await
    }

    /// One request to the admin API as it is: `fields` are further lines of its head.
    pub async fn admin_ask(
        &self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let fields: String = fields
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        let length = body.len();
        let mut wire = self.admin_wire().await;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: node\r\nContent-Length: {length}\r\n{fields}\r\n"
        );
        // A refusal may come, and the connection be closed, before all of the body is sent.
        let _ = wire.try_send(head).await;
        let _ = wire.try_send(body).await;
        wire.answer().await
    }

    /// The last change, and the files of components and artifacts: what a refused upload must leave as it was.
    pub async fn left(&self) -> (u64, Vec<String>) {
        let mut files = Vec::new();
        for folder in ["components", "artifacts"] {
            list(&self.data().join(folder), &mut files);
        }
        files.sort();
        (self.status().await.revision, files)
    }

    /// A bare connection to the admin API.
    pub async fn admin_wire(&self) -> Wire {
        Wire::to_unix(&self.home.path().join("admin.sock")).await
    }

    /// Where guests are served.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Where guests are served over TLS: the node must have been told to (`https.listen`).
    pub async fn https(&self) -> SocketAddr {
        let status = self.status().await;
        let address = status.https.first().expect("the node speaks TLS");
        address.parse().expect("an address")
    }

    /// A bare connection to where guests are served.
    pub async fn wire(&self) -> Wire {
        Wire::to(self.http).await
    }

    /// Sends these very bytes on a connection of their own, and reads until the node closes it: the last request must
    /// make it do so.
    pub async fn raw(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut wire = self.wire().await;
        // The node may close before it has read all: what it said counts.
        let _ = wire.try_send(bytes).await;
        String::from_utf8_lossy(&wire.rest().await).into_owned()
    }

    /// Asks a guest; `place` is `host/path`.
    pub async fn get(&self, place: &str) -> Answer {
        self.ask("GET", place).send().await
    }

    /// A request to a guest.
    pub fn ask(&self, method: &str, place: &str) -> Ask {
        Ask::new(self.http, method, place)
    }

    /// The node's figures.
    pub async fn status(&self) -> NodeStatus {
        self.client.status().await.expect("the node answers")
    }

    /// The value of the one sample of a metric that begins with `series`; 0 where there is none.
    pub async fn metric(&self, series: &str) -> f64 {
        let page = self.client.metrics().await.expect("the node answers");
        page.lines()
            .filter_map(|line| line.rsplit_once(' '))
            .find(|(name, _)| *name == series)
            .map_or(0.0, |(_, value)| {
                value.parse().expect("a sample is a number")
            })
    }

    /// The folder of the node's data.
    pub fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// The control process's id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The control process.
    pub fn control(&mut self) -> &mut Process {
        &mut self.process
    }

    /// What the node logged.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// kill -9 of the worker; gives its id.
    pub async fn kill_worker(&self) -> u32 {
        let worker = until("there is a worker", async || {
            let worker = self.status().await.worker;
            worker.ready.then_some(worker.pid)
        })
        .await;
        end(worker, Signal::KILL);
        worker
    }

    /// kill -9 of control.
    pub fn kill_control(&mut self) {
        self.process.kill();
    }

    /// SIGTERM, and the wait for its end.
    pub async fn stop(&mut self) -> ExitStatus {
        self.process.tell_to_stop();
        self.process.wait().await
    }

    /// Starts the node again on the same folder and configuration; the old process must have ended.
    pub async fn start_again(&mut self) {
        if !self.try_start_again().await {
            panic!("littorald ended:\n{}", self.process.log_tail());
        }
    }

    /// The same, where the node may end before it serves: then `false`.
    pub async fn try_start_again(&mut self) -> bool {
        assert!(self.process.ended().is_some(), "the node still runs");
        self.process = start(
            self.home.path(),
            &self.environment,
            &self.under,
            self.address_space_bytes_max,
            &self.sockets,
        );
        let issuer = self.issuer.as_deref();
        match ready(self.home.path(), issuer, &mut self.process).await {
            Some((client, http)) => {
                (self.client, self.http) = (client, http);
                true
            }
            None => false,
        }
    }

    /// Sets a key in the configuration's file, for the node to read when it is told to.
    pub fn configure(&self, key: &str, value: impl Into<serde_json::Value>) {
        let path = self.home.path().join("littoral.toml");
        let text = std::fs::read_to_string(&path).expect("the folder is ours");
        let of_key = |line: &&str| line.split_once(" = ").is_some_and(|(own, _)| own == key);
        let mut lines: Vec<_> = text.lines().filter(|line| !of_key(line)).collect();
        let line = format!("{key} = {}", value.into());
        lines.push(&line);
        std::fs::write(&path, lines.join("\n")).expect("the folder is ours");
    }

    /// Variables that the node is started with from the next start on.
    pub fn set_environment(&mut self, environment: Vec<(String, OsString)>) {
        self.environment = environment;
    }

    /// How much address space the node and its processes have from the next start on (`RLIMIT_AS`).
    pub fn limit_address_space(&mut self, bytes_max: u64) {
        self.address_space_bytes_max = Some(bytes_max);
    }

    /// Stops and starts it.
    pub async fn restart(&mut self) {
        self.stop().await;
        self.start_again().await;
    }
}

impl Drop for TestEdge {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the node's log:\n{}", self.process.log_tail());
        }
    }
}

/// A node that the tests of a module share, each with tenants of its own: started by the first that needs it, ended
/// with the last that has it.
pub struct Shared {
    node: Mutex<Weak<TestEdge>>,
    configure: fn(Builder) -> Builder,
}

/// A test's hold on a shared node.
pub struct SharedEdge(Arc<TestEdge>);

impl Shared {
    /// A node with the defaults.
    pub const fn new() -> Self {
        Self::configured(|builder| builder)
    }

    /// A node with a configuration.
    pub const fn configured(configure: fn(Builder) -> Builder) -> Self {
        Self {
            node: Mutex::const_new(Weak::new()),
            configure,
        }
    }

    /// The node.
    pub async fn edge(&self) -> SharedEdge {
        let mut node = self.node.lock().await;
        if let Some(edge) = node.upgrade() {
            return SharedEdge(edge);
        }
        let edge = Arc::new((self.configure)(TestEdge::build()).start().await);
        *node = Arc::downgrade(&edge);
        SharedEdge(edge)
    }
}

impl Default for Shared {
    fn default() -> Self {
        Self::new()
    }
}

impl Deref for SharedEdge {
    type Target = TestEdge;

    fn deref(&self) -> &TestEdge {
        &self.0
    }
}

impl Drop for SharedEdge {
    fn drop(&mut self) {
        if std::thread::panicking() && Arc::strong_count(&self.0) > 1 {
            eprintln!("the shared node's log:\n{}", self.0.process.log_tail());
        }
    }
}
