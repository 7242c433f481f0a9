//! `littoral deploy`: sign, upload, wait, route, print the URL.

use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::digest::{Context as Hash, SHA256};
use edge_config::{Digest, HostPattern, ModuleName, PathPrefix, RouteId, TenantName, VariableId};
use serde_json::json;

use super::context::Context;
use super::failure::Failure;
use super::files::{self, Mounted};
use super::output::{facts, table};
use super::progress::Progress;
use super::spin;
use super::token::seconds;
use crate::auth::system_clock;
use crate::client::{Client, ClientError, Component, UploadAnswer, UploadRequest};
use crate::keypair::PrivateKey;
use crate::problem::Kind;
use crate::statement::{Statement, sign};
use crate::view::{
    Job, JobState, ModuleVersion, Precondition, Route, RouteWrite, UploadDryRun, VariableWrite,
    Written,
};

/// Pause before the second look at a job; each further one is half as long again, up to the longest. Most components are
/// compiled before anybody would notice a wait, and a long compilation needs no eager questions.
const POLL_FIRST: Duration = Duration::from_millis(8);
const POLL_LONGEST: Duration = Duration::from_millis(400);

/// Signs a component, uploads it, waits until it is compiled, routes a hostname to it, and prints the URL.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The component, a core module, or a Spin application's `spin.toml`
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The tenant
    #[arg(long)]
    tenant: TenantName,
    /// The module; a Spin application names its own
    #[arg(long)]
    module: Option<ModuleName>,
    /// The hostname, exact or `*.wildcard`, to route to it
    #[arg(long, required_unless_present_any = ["no_route", "dry_run"])]
    host: Option<HostPattern>,
    /// The path prefix to route to it; a Spin application has its own
    #[arg(long, default_value = "/", value_name = "PATH")]
    path: PathPrefix,
    /// The publisher's private key, from `littoral keygen`
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The version; by default the time in seconds, or one above the highest accepted
    #[arg(long)]
    version: Option<u64>,
    /// How long the signed statement is valid
    #[arg(long, default_value = "1h", value_parser = seconds, value_name = "TIME")]
    lifetime: u64,
    /// The value of a variable of a Spin application, in the place of its default
    #[arg(long = "variable", value_name = "NAME=VALUE")]
    variables: Vec<String>,
    /// A file, or all in a folder, that its guests may read at a path; a Spin application has its own
    #[arg(long, value_name = "SOURCE:/DESTINATION")]
    files: Vec<String>,
    /// Say what would happen and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Upload only; leave routes alone
    #[arg(long, conflicts_with = "host")]
    no_route: bool,
}

pub(super) async fn run(context: &Context, arguments: Arguments) -> Result<(), Failure> {
    let client = context.client()?;
    let key = PrivateKey::read(&arguments.key)?;
    if arguments
        .file
        .file_name()
        .is_some_and(|name| name == spin::FILE_NAME)
    {
        return run_application(context, &client, &key, &arguments).await;
    }
    if !arguments.variables.is_empty() {
        return Err(Failure::Usage(
            "--variable goes with a spin.toml; `littoral variable set` sets those of a module"
                .to_owned(),
        ));
    }
    let module = arguments.module.clone().ok_or_else(|| {
        Failure::Usage("--module is missing; only a spin.toml names modules of its own".to_owned())
    })?;
    let mut mounted = Mounted::new();
    for argument in &arguments.files {
        files::add_argument(&mut mounted, argument)?;
    }
    let what = (arguments.file.as_path(), &mounted);
    let (upload, component_bytes) = prepare(&client, &key, &arguments, &module, what).await?;
    if arguments.dry_run {
        let progress = Progress::new();
        let sent = move |bytes| progress.sent(bytes, component_bytes);
        let answer = client.upload_dry_run(&upload, sent).await;
        progress.clear();
        return show_dry_run(context, &client, &arguments, &module, answer?).await;
    }
    let (version, created) = publish(&client, &upload, component_bytes).await?;
    let routed = match arguments.host.clone().filter(|_| !arguments.no_route) {
        None => None,
        Some(host) => {
            Some(route(&client, &arguments, host, arguments.path.clone(), &module).await?)
        }
    };
    let value = json!({
        "version": version,
        "created": created,
        "route": routed.as_ref().map(|(_, route)| route),
        "url": routed.as_ref().map(|(url, _)| url),
    });
    context.show(&value, || match &routed {
        Some((url, _)) => format!("{url}\n"),
        None => format!(
            "{module} version {} is {}\n",
            version.version,
            if created { "accepted" } else { "there already" }
        ),
    })
}

/// Deploys a Spin application: all of its modules with their grants, and then, when each of them is there, the routes.
async fn run_application(
    context: &Context,
    client: &Client,
    key: &PrivateKey,
    arguments: &Arguments,
) -> Result<(), Failure> {
    if arguments.module.is_some()
        || arguments.path.as_str() != "/"
        || arguments.version.is_some()
        || !arguments.files.is_empty()
    {
        return Err(Failure::Usage(
            "--module, --path, --files and --version do not go with a spin.toml, which says them itself"
                .to_owned(),
        ));
    }
    let text = std::fs::read_to_string(&arguments.file).map_err(|error| {
        Failure::local(
            format!("{} cannot be read", arguments.file.display()),
            error,
        )
    })?;
    let folder = arguments.file.parent().unwrap_or(Path::new(""));
    let given = arguments
        .variables
        .iter()
        .map(|entry| match entry.split_once('=') {
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None => Err(Failure::Usage(
                "a --variable has no '='; allowed: NAME=VALUE".to_owned(),
            )),
        })
        .collect::<Result<_, _>>()?;
    let application = spin::read(&text, folder, &given).map_err(|wrong| {
        Failure::Usage(format!(
            "{} cannot be deployed:\n  {}",
            arguments.file.display(),
            wrong.join("\n  ")
        ))
    })?;
    let (mut shown, mut refused) = (Vec::new(), false);
    for module in &application.modules {
        let mounted = module.mounted(folder)?;
        let what = (module.file.as_path(), &mounted);
        let (upload, component_bytes) = prepare(client, key, arguments, &module.name, what).await?;
        if arguments.dry_run {
            let answer = client.upload_dry_run(&upload, |_| {}).await?;
            refused |= !answer.accepted;
            shown.push(json!({
                "module": module.name, "upload": answer, "grants": module.grants, "paths": module.paths,
            }));
            continue;
        }
        let (version, created) = publish(client, &upload, component_bytes).await?;
        // Who deploys again what grants nothing new needs no token that grants.
        let granted = client
            .module_grants(&arguments.tenant, &module.name)
            .await?;
        if granted.value != module.grants {
            let none = Precondition::None;
            client
                .put_module_grants(&arguments.tenant, &module.name, &module.grants, none)
                .await?;
        }
        for variable in &module.variables {
            set_variable(client, &arguments.tenant, &module.name, variable).await?;
        }
        shown.push(json!({
            "module": module.name, "version": version, "created": created, "grants": module.grants,
        }));
    }
    let mut urls = Vec::new();
    if let Some(host) = arguments
        .host
        .as_ref()
        .filter(|_| !arguments.dry_run && !arguments.no_route)
    {
        for module in &application.modules {
            for path in &module.paths {
                let routed = route(client, arguments, host.clone(), path.clone(), &module.name);
                urls.push(routed.await?.0);
            }
        }
    }
    let widened: Vec<_> = application
        .modules
        .iter()
        .flat_map(|module| &module.widened)
        .collect();
    let mut unset = Vec::new();
    for module in &application.modules {
        for name in &module.unset {
            let id = variable_id(&module.name, name)?;
            // What was set by hand stays as it is.
            match client.variable(&arguments.tenant, &id).await {
                Ok(_) => {}
                Err(ClientError::Problem(problem)) if problem.status == 404 => unset.push(id),
                Err(error) => return Err(error.into()),
            }
        }
    }
    let value = json!({
        "modules": shown, "urls": urls, "routes_with_all_below": widened, "variables_without_value": unset,
    });
    context.show(&value, || {
        let mut text: String = urls.iter().map(|url| format!("{url}\n")).collect();
        if arguments.dry_run {
            text.push_str(&application_text(&shown));
        }
        for id in unset {
            let set = format!("littoral variable set --tenant {} {id}", arguments.tenant);
            text.push_str(&format!("note: {id} has no value yet: {set}\n"));
        }
        for path in widened {
            text.push_str(&format!("note: {path} answers for all below it too\n"));
        }
        text
    })?;
    if refused {
        Err(Failure::WouldBeRefused)
    } else {
        Ok(())
    }
}

/// Sets a variable of a module; leaves a plain one alone that has the value already.
async fn set_variable(
    client: &Client,
    tenant: &TenantName,
    module: &ModuleName,
    variable: &spin::AppVariable,
) -> Result<(), Failure> {
    let id = variable_id(module, &variable.name)?;
    if !variable.secret
        && let Ok(there) = client.variable(tenant, &id).await
        && there.value.value.as_ref() == Some(&variable.value)
    {
        return Ok(());
    }
    let write = VariableWrite {
        value: variable.value.clone().into(),
        secret: variable.secret,
    };
    let put = client.put_variable(tenant, &id, &write, Precondition::None);
    put.await.map(drop).map_err(Into::into)
}

fn variable_id(module: &ModuleName, name: &str) -> Result<VariableId, Failure> {
    let id = format!("{module}/{name}");
    id.parse()
        .map_err(|error: edge_config::VariableIdError| Failure::Usage(error.to_string()))
}

fn application_text(shown: &[serde_json::Value]) -> String {
    let rows: Vec<_> = shown
        .iter()
        .map(|module| {
            let of_upload = |name: &str| module.get("upload")?.get(name);
            let accepted = of_upload("accepted").and_then(serde_json::Value::as_bool) == Some(true);
            let problems = of_upload("problems").and_then(serde_json::Value::as_array);
            let problems = problems.into_iter().flatten();
            let details: Vec<_> = problems
                .filter_map(|problem| problem.get("detail")?.as_str())
                .collect();
            [
                module
                    .get("module")
                    .and_then(serde_json::Value::as_str)
                    .unwrap_or_default()
                    .to_owned(),
                if accepted {
                    "would be accepted"
                } else {
                    "would be refused"
                }
                .to_owned(),
                details.join("; "),
            ]
        })
        .collect();
    table(["MODULE", "", ""], &rows)
}

/// The signed upload of a file with those behind it, and its length in bytes.
async fn prepare(
    client: &Client,
    key: &PrivateKey,
    arguments: &Arguments,
    module: &ModuleName,
    (file, mounted): (&Path, &Mounted),
) -> Result<(UploadRequest, u64), Failure> {
    let unread = |source| Failure::local(format!("{} cannot be read", file.display()), source);
    let (component, digest, component_bytes) = if mounted.is_empty() {
        let (digest, bytes) = hash(file).map_err(unread)?;
        (Component::File(file.to_owned()), digest, bytes)
    } else {
        let upload = files::with(std::fs::read(file).map_err(unread)?, mounted)?;
        let (digest, bytes) = hash_of(upload.as_slice()).map_err(unread)?;
        (Component::Bytes(upload.into()), digest, bytes)
    };
    let now = system_clock()();
    let version = match arguments.version {
        Some(version) => version,
        None => next_version(client, &arguments.tenant, module, now).await?,
    };
    let statement = Statement {
        tenant: arguments.tenant.clone(),
        module: module.clone(),
        version,
        digest,
        iat: now,
        exp: now.saturating_add(arguments.lifetime),
    };
    let upload = UploadRequest {
        tenant: arguments.tenant.clone(),
        module: module.clone(),
        statement: Some(sign(key, &statement)),
        component,
        precondition: Precondition::None,
        respond_async: true,
    };
    Ok((upload, component_bytes))
}

/// Uploads and waits until that is a version, or was one; whether it is new.
pub(super) async fn publish(
    client: &Client,
    upload: &UploadRequest,
    component_bytes: u64,
) -> Result<(ModuleVersion, bool), Failure> {
    let progress = Progress::new();
    let sent = move |bytes| progress.sent(bytes, component_bytes);
    let answer = client.upload(upload, sent).await;
    progress.clear();
    match answer? {
        UploadAnswer::Done { version, created } => Ok((version.value, created)),
        UploadAnswer::Accepted(job) => {
            let (version, written) = wait(client, &upload.tenant, job, progress).await?;
            Ok((version, written != Written::Unchanged))
        }
    }
}

/// Routes a place to a module; where that answers, and the route.
async fn route(
    client: &Client,
    arguments: &Arguments,
    host: HostPattern,
    path: PathPrefix,
    module: &ModuleName,
) -> Result<(String, Route), Failure> {
    let id = RouteId::new(host, path);
    let write = RouteWrite {
        module: module.clone(),
        version: None,
    };
    let put = client
        .put_route(&arguments.tenant, &id, &write, Precondition::None)
        .await?;
    let node = client.node().await?;
    Ok((url(&put.resource.value, &node.http), put.resource.value))
}

/// The time, or one above the highest accepted: versions of a module only rise.
pub(super) async fn next_version(
    client: &Client,
    tenant: &TenantName,
    module: &ModuleName,
    now: u64,
) -> Result<u64, Failure> {
    let highest = match client.module(tenant, module).await {
        Ok(module) => module.value.highest_version,
        Err(ClientError::Problem(problem)) if problem.kind() == Some(Kind::ModuleNotFound) => 0,
        Err(error) => return Err(error.into()),
    };
    Ok(now.max(highest.saturating_add(1)))
}

/// Polls a job to its end. A job ends by itself: the node bounds its queue and its compiler.
async fn wait(
    client: &Client,
    tenant: &TenantName,
    mut job: Job,
    progress: Progress,
) -> Result<(ModuleVersion, Written), Failure> {
    let mut pause = POLL_FIRST;
    loop {
        progress.job(&job.state);
        match job.state {
            JobState::Done { version, written } => return Ok((*version, written)),
            JobState::Failed { problem } => return Err(Failure::Job(problem)),
            JobState::Queued { .. } | JobState::Compiling { .. } => {
                tokio::time::sleep(pause).await;
                pause = (pause * 3 / 2).min(POLL_LONGEST);
                job = match client.job(tenant, &job.id).await {
                    Ok(job) => job,
                    Err(error) => {
                        progress.clear();
                        return Err(error.into());
                    }
                };
            }
        }
    }
}

async fn show_dry_run(
    context: &Context,
    client: &Client,
    arguments: &Arguments,
    module: &ModuleName,
    upload: UploadDryRun,
) -> Result<(), Failure> {
    let route = match &arguments.host {
        None => None,
        Some(host) => {
            let id = RouteId::new(host.clone(), arguments.path.clone());
            let write = RouteWrite {
                module: module.clone(),
                version: None,
            };
            let answer = client
                .put_route_dry_run(&arguments.tenant, &id, &write, Precondition::None)
                .await;
            match answer {
                Ok(answer) => Some(json!(answer)),
                // Before its first upload a module has no route to try.
                Err(ClientError::Problem(problem))
                    if problem.kind() == Some(Kind::ModuleNotFound) =>
                {
                    None
                }
                Err(error) => return Err(error.into()),
            }
        }
    };
    context.show(&json!({ "upload": upload, "route": route }), || {
        dry_run_text(&upload)
    })?;
    if upload.accepted {
        Ok(())
    } else {
        Err(Failure::WouldBeRefused)
    }
}

fn dry_run_text(upload: &UploadDryRun) -> String {
    let inspection = &upload.inspection;
    let mut text = facts(&[
        ("would be accepted", upload.accepted.to_string()),
        (
            "serves",
            upload.world.clone().unwrap_or_else(|| "nothing".to_owned()),
        ),
        ("digest", upload.digest.to_string()),
        ("component bytes", upload.component_bytes.to_string()),
        (
            "memory declared",
            format!("{} bytes", inspection.memory_initial_bytes),
        ),
        (
            "memory allowed",
            format!("{} bytes", upload.instance_memory_bytes_max),
        ),
        ("already compiled", upload.artifact_ready.to_string()),
    ]);
    if !inspection.imports.is_empty() {
        let rows: Vec<_> = inspection
            .imports
            .iter()
            .map(|import| {
                let state = match (&import.needs, import.granted) {
                    (Some(grant), true) => format!("not granted ({grant})"),
                    (None, true) => "granted".to_owned(),
                    (_, false) => "missing".to_owned(),
                };
                [import.name.clone(), state]
            })
            .collect();
        text.push('\n');
        text.push_str(&table(["IMPORT", ""], &rows));
    }
    if !upload.problems.is_empty() {
        let rows: Vec<_> = upload
            .problems
            .iter()
            .map(|problem| {
                let title = Kind::from_uri(&problem.problem_type)
                    .map_or(problem.problem_type.as_str(), |kind| kind.title());
                [title.to_owned(), problem.detail.clone()]
            })
            .collect();
        text.push('\n');
        text.push_str(&table(["PROBLEM", "DETAIL"], &rows));
    }
    text
}

/// Where a route answers, as far as this side can tell: its host, the node's first listener's port, its path.
fn url(route: &Route, http: &[String]) -> String {
    let port = http
        .first()
        .and_then(|address| address.rsplit_once(':'))
        .map(|(_, port)| port)
        .filter(|port| *port != "80")
        .map(|port| format!(":{port}"))
        .unwrap_or_default();
    format!("http://{}{port}{}", route.host, route.path)
}

pub(super) fn hash(path: &Path) -> std::io::Result<(Digest, u64)> {
    hash_of(std::fs::File::open(path)?)
}

fn hash_of(mut file: impl std::io::Read) -> std::io::Result<(Digest, u64)> {
    let mut hash = Hash::new(&SHA256);
    let mut scratch = vec![0; 64 * 1024];
    let mut bytes = 0;
    loop {
        let count = file.read(&mut scratch)?;
        let Some(read) = scratch.get(..count).filter(|read| !read.is_empty()) else {
            break;
        };
        hash.update(read);
        bytes += read.len() as u64;
    }
    let digest = hash.finish();
    let digest = <[u8; 32]>::try_from(digest.as_ref()).expect("SHA-256 has 32 bytes");
    Ok((Digest::from_bytes(digest), bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_has_the_ports_of_the_node() {
        let route = Route {
            id: "hello.localhost/".parse().unwrap(),
            host: "hello.localhost".parse().unwrap(),
            path: "/".parse().unwrap(),
            module: "hello".parse().unwrap(),
            version: None,
            serves_version: 1,
        };
        let at = |http: &[&str]| {
            let http: Vec<_> = http.iter().map(|&text| text.to_owned()).collect();
            url(&route, &http)
        };
        assert_eq!(at(&["127.0.0.1:8080"]), "http://hello.localhost:8080/");
        assert_eq!(at(&["[::]:8080"]), "http://hello.localhost:8080/");
        assert_eq!(at(&["0.0.0.0:80"]), "http://hello.localhost/");
        assert_eq!(at(&[]), "http://hello.localhost/");
    }

    #[test]
    fn digests_are_those_of_the_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("empty");
        std::fs::write(&path, b"").unwrap();
        let (digest, bytes) = hash(&path).unwrap();
        assert_eq!(bytes, 0);
        assert_eq!(
            digest.hex(),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }
}
