//! `littorald dev`: a node that sets itself up, then does the real thing through its own REST API.
//!
//! Nothing here is a short cut: the demo tenant is created, its module signed, uploaded, compiled and routed by the
//! same calls that anybody else would make.

use std::error::Error;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use control_api::auth::{Scope, system_clock};
use control_api::client::{Client, Component, UploadRequest};
use control_api::keypair::PrivateKey;
use control_api::statement::{self, Statement};
use control_api::token::{TokenRequest, mint};
use control_api::view::{Precondition, RouteWrite, TenantWrite};
use edge_config::{Config, Digest, ModuleName, RawConfig, RouteId, TenantName};
use serde_json::json;

use crate::control::service::Service;
use crate::control::{Node, Started, TimeFloor};
use crate::durable::create_private_dir;
use crate::logging;

/// The component that a fresh node serves: `tests/guests/hello`.
const HELLO: &[u8] = include_bytes!("../../tests/guests/built/hello.wasm");
const TENANT: &str = "demo";
const MODULE: &str = "hello";
const ROUTE: &str = "hello.localhost/";
/// The node's name in dev mode, and with it the audience of its tokens.
const NODE: &str = "dev";
/// The command line's program.
const CLI: &str = "littoral";
/// A day of playing around, and the node makes a new token at each start.
const TOKEN_LIFETIME_S: u64 = 24 * 3600;
const STATEMENT_LIFETIME_S: u64 = 600;

/// Options of `littorald dev`.
#[derive(Debug, Args)]
pub struct DevOptions {
    /// Where the node keeps everything [default: littoral-dev in the user's data folder]
    #[arg(long)]
    data: Option<PathBuf>,
    /// Where guests are served; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8080")]
    http: SocketAddr,
    /// Where the admin API listens; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:7400")]
    admin: SocketAddr,
    /// Log more: debug or trace instead of warn
    #[arg(long, default_value = "warn")]
    log: String,
}

/// Runs the node until it is told to stop.
///
/// # Errors
/// Whatever keeps the node from starting or the demo from being set up.
pub async fn run(options: DevOptions) -> Result<(), Box<dyn Error>> {
    logging::start(&options.log, false, "control");
    let data = match options.data {
        Some(data) => data,
        None => user_data_folder()?,
    };
    // Whoever uses the paths that are printed need not stand in the same folder.
    let data = std::path::absolute(data)?;
    let config = configuration(&data, options.http, options.admin, &options.log)?;
    let node = Node::bind(config, Service::default(), TimeFloor::Kept).await?;
    let started = node.started();
    let (ready, is_ready) = tokio::sync::oneshot::channel();
    let set_up = async {
        is_ready.await?;
        let said = set_up(&data, &started).await?;
        writeln!(std::io::stdout(), "{said}")?;
        Ok::<_, Box<dyn Error>>(())
    };
    let running = node.run(crate::until_told_to_stop(), || {
        // Nobody waits only if setting up failed already.
        let _ = ready.send(());
    });
    tokio::pin!(running);
    tokio::select! {
        ended = &mut running => return Ok(ended?),
        outcome = set_up => outcome?,
    }
    Ok(running.await?)
}

fn configuration(
    data: &Path,
    http: SocketAddr,
    admin: SocketAddr,
    log: &str,
) -> Result<Config, Box<dyn Error>> {
    let mut raw = RawConfig::default();
    raw.node.name = Some(NODE.to_owned());
    raw.node.data_dir = Some(
        data.to_str()
            .ok_or("the data folder's name is not UTF-8")?
            .to_owned(),
    );
    raw.http.listen = Some(vec![http.to_string()]);
    raw.admin.listen = Some(admin.to_string());
    raw.log.level = Some(log.to_owned());
    let errors = match Config::resolve(raw) {
        Ok(config) => return Ok(config),
        Err(errors) => errors,
    };
    let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
    Err(errors.join("; ").into())
}

/// Tenant, key, module and route, each made if it is not there; answers the line for programs.
async fn set_up(data: &Path, started: &Started) -> Result<serde_json::Value, Box<dyn Error>> {
    let (http, admin) = (
        started.http.first().ok_or("the node serves nowhere")?,
        started
            .admin
            .first()
            .ok_or("the admin API is served nowhere")?,
    );
    let admin_key = started
        .admin_key
        .as_deref()
        .ok_or("the node has no admin key of its own")?;
    let folder = data.join("dev");
    create_private_dir(&folder)?;
    let token_file = folder.join("token");
    let token = admin_token(admin_key)?;
    write_private(&token_file, &token)?;
    let key_file = folder.join("publisher.key");
    let publisher = if key_file.exists() {
        PrivateKey::read(&key_file)?
    } else {
        new_key(&key_file)?
    };

    let client = Client::new(&format!("http://{admin}"), Some(token))?;
    let tenant: TenantName = TENANT.parse()?;
    let module: ModuleName = MODULE.parse()?;
    let route: RouteId = ROUTE.parse()?;
    if client.tenant(&tenant).await.is_err() {
        client
            .put_tenant(&tenant, &TenantWrite::default(), Precondition::Absent)
            .await?;
    }
    let public = publisher.public();
    client
        .put_key(
            &tenant,
            &publisher.kid().parse()?,
            &public,
            Precondition::None,
        )
        .await?;
    deploy_hello(&client, &publisher, &tenant, &module).await?;
    let write = RouteWrite {
        module,
        version: None,
    };
    client
        .put_route(&tenant, &route, &write, Precondition::None)
        .await?;

    let url = format!("http://{}:{}/", route.host().as_str(), http.port());
    eprintln!(
        "Littoral serves on http://{http}, admin API on http://{admin}, data in {}",
        data.display()
    );
    eprintln!();
    eprintln!("    curl {url}");
    eprintln!();
    eprintln!(
        "where the system does not resolve it: curl --resolve {}:{}:{} {url}",
        route.host().as_str(),
        http.port(),
        http.ip()
    );
    let littoral = littoral();
    if littoral.is_none() {
        eprintln!(
            "to have `littoral`, from the sources: cargo install --locked --path control-api"
        );
    }
    let littoral = littoral.unwrap_or_else(|| PathBuf::from(CLI));
    eprintln!("to deploy your own, in another terminal:");
    eprintln!(
        "    export LITTORAL_ADMIN=http://{admin} LITTORAL_TOKEN_FILE={}",
        token_file.display()
    );
    eprintln!(
        "    {} deploy your.wasm --tenant {TENANT} --module yours --host yours.localhost --key {}",
        littoral.display(),
        key_file.display()
    );
    Ok(json!({
        "http": format!("http://{http}"),
        "admin": format!("http://{admin}"),
        "tenant": TENANT,
        "token_file": token_file,
        "key_file": key_file,
        "url": url,
    }))
}

/// The command line, as somebody types it: by its name where the shell would find it, by its path where it lies beside
/// this program.
fn littoral() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|folder| folder.join(CLI).is_file()) {
        return Some(PathBuf::from(CLI));
    }
    let beside = std::env::current_exe().ok()?.with_file_name(CLI);
    beside.is_file().then_some(beside)
}

/// Uploads the bundled component unless the node serves these very bytes already.
async fn deploy_hello(
    client: &Client,
    publisher: &PrivateKey,
    tenant: &TenantName,
    module: &ModuleName,
) -> Result<(), Box<dyn Error>> {
    let digest = Digest::from_bytes(sha256(HELLO));
    let now = system_clock()();
    let mut version = now;
    if let Ok(known) = client.module(tenant, module).await {
        let active = known
            .value
            .versions
            .iter()
            .find(|kept| kept.version == known.value.active_version);
        if active.is_some_and(|active| active.digest == digest) {
            return Ok(());
        }
        version = version.max(known.value.highest_version + 1);
    }
    let stated = Statement {
        tenant: tenant.clone(),
        module: module.clone(),
        version,
        digest,
        iat: now,
        exp: now + STATEMENT_LIFETIME_S,
    };
    let signed = statement::sign(publisher, &stated);
    let upload = UploadRequest {
        tenant: tenant.clone(),
        module: module.clone(),
        statement: Some(signed),
        component: Component::Bytes(bytes::Bytes::from_static(HELLO)),
        precondition: Precondition::None,
        respond_async: false,
    };
    client.upload(&upload, |_| {}).await?;
    Ok(())
}

fn admin_token(key: &Path) -> Result<String, Box<dyn Error>> {
    let request = TokenRequest {
        issuer: "littoral".to_owned(),
        subject: "dev".to_owned(),
        audience: NODE.to_owned(),
        scopes: vec![Scope::NodeAdmin],
        tenant: None,
        lifetime_s: TOKEN_LIFETIME_S,
    };
    Ok(mint(&PrivateKey::read(key)?, &request, system_clock()())?)
}

fn new_key(path: &Path) -> Result<PrivateKey, Box<dyn Error>> {
    let key = PrivateKey::generate()?;
    key.write_new(path)?;
    Ok(key)
}

/// Replaces a file that only this user may read.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    let mut out = [0; 32];
    out.copy_from_slice(digest.as_ref());
    out
}

/// `$XDG_DATA_HOME` (XDG Base Directory Specification), or its default.
fn user_data_folder() -> Result<PathBuf, Box<dyn Error>> {
    let set = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let base = set("XDG_DATA_HOME").or_else(|| Some(set("HOME")?.join(".local/share")));
    Ok(base
        .ok_or("neither XDG_DATA_HOME nor HOME is set: name a folder with --data")?
        .join("littoral-dev"))
}
