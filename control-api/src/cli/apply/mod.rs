//! `littoral apply` and `littoral diff`: files say what a node should have.
//!
//! Takes files; asks the node once for what it has; takes the steps between the two, tenant by tenant. Promises that a
//! second run with the same files takes none, and that without `--prune` nothing is removed. Where a step fails, the rest
//! of that tenant's are not tried and the other tenants' are: running it again goes on from there.

mod desired;
mod plan;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;

use clap::Args;
use edge_config::TenantName;
use serde::Serialize;

use super::context::Context;
use super::deploy;
use super::failure::Failure;
use super::output::plain;
use crate::auth::system_clock;
use crate::client::{Client, Component, UploadRequest};
use crate::error::Problem;
use crate::keypair::PrivateKey;
use crate::statement::{Statement, sign};
use crate::view::{Holding, PageRequest, Precondition};
use plan::{Act, Plan, Reach, Said, Step};

/// Tenants asked for at a time.
const PAGE: usize = 1000;
/// How long the statements that are signed here are valid, in seconds.
const STATEMENT_LIFETIME_S: u64 = 3600;
/// Lines about what was left that people are shown.
const LEFT_SHOWN_MAX: usize = 20;

#[derive(Debug, Args)]
pub(super) struct Files {
    /// What should be: a TOML file, or a folder of them
    #[arg(short = 'f', long = "file", value_name = "FILE|FOLDER")]
    file: PathBuf,
    /// Remove what is there and not described: of described tenants, in the kinds that are described; and the tenants of
    /// `remove_tenants`
    #[arg(long)]
    prune: bool,
    /// Write secrets again that are there already; whether they are the same cannot be told
    #[arg(long)]
    set_secrets: bool,
}

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    files: Files,
    /// Say what would be done and change nothing, as `littoral diff` does
    #[arg(long)]
    dry_run: bool,
}

/// What came of a run, for programs.
#[derive(Serialize)]
struct Report {
    changes: Vec<Change>,
    done: usize,
    failed: usize,
    not_tried: usize,
    /// What is there, not described, and only removed with `--prune`.
    left: Vec<String>,
    /// Secrets that are there and were not written again.
    secrets_left: u64,
}

#[derive(Serialize)]
struct Change {
    tenant: TenantName,
    #[serde(flatten)]
    said: Said,
    state: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Box<Problem>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Planned,
    Done,
    Failed,
    NotTried,
}

pub(super) async fn run(context: &Context, arguments: Arguments) -> Result<(), Failure> {
    let client = context.client()?;
    let plan = planned(&client, &arguments.files).await?;
    if arguments.dry_run {
        return report(context, only_said(plan.steps), plan.left, plan.secrets_left);
    }
    let (changes, gone) = carry_out(&client, plan.steps).await?;
    let reported = report(context, changes, plan.left, plan.secrets_left);
    match gone {
        Some(failure) => Err(failure),
        None => reported,
    }
}

pub(super) async fn diff(context: &Context, files: Files) -> Result<(), Failure> {
    let plan = planned(&context.client()?, &files).await?;
    report(context, only_said(plan.steps), plan.left, plan.secrets_left)
}

async fn planned(client: &Client, files: &Files) -> Result<Plan, Failure> {
    let wrong = |faults: Vec<String>| {
        Failure::Usage(format!(
            "{} cannot be applied, nothing was changed:\n  {}",
            files.file.display(),
            faults.join("\n  ")
        ))
    };
    let desired = desired::read(&files.file).map_err(wrong)?;
    let mut is: BTreeMap<TenantName, Holding> = BTreeMap::new();
    let mut after = None;
    loop {
        let page = PageRequest { after, limit: PAGE };
        let page = client.holdings(&page).await?;
        let wanted = page.items.into_iter().filter(|holding| {
            let name = &holding.tenant;
            desired.tenants.contains_key(name) || desired.remove.contains(name)
        });
        is.extend(wanted.map(|holding| (holding.tenant.clone(), holding)));
        match page.next_after {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    let reach = Reach {
        prune: files.prune,
        set_secrets: files.set_secrets,
    };
    plan::plan(desired, &is, reach).map_err(wrong)
}

fn only_said(steps: Vec<Step>) -> Vec<Change> {
    let changes = steps.into_iter().map(|step| Change {
        tenant: step.tenant,
        said: step.said,
        state: Outcome::Planned,
        why: None,
        problem: None,
    });
    changes.collect()
}

/// Takes the steps in their order; of a tenant none after one that failed, and none at all after the node went away, which
/// is given beside them.
///
/// # Errors
/// A key to sign with that cannot be used, before the first step.
async fn carry_out(
    client: &Client,
    steps: Vec<Step>,
) -> Result<(Vec<Change>, Option<Failure>), Failure> {
    let mut keys: HashMap<PathBuf, PrivateKey> = HashMap::new();
    for step in &steps {
        if let Act::Deploy(_, component, _) = &step.act
            && let Some(path) = &component.sign_with
            && !keys.contains_key(path)
        {
            keys.insert(path.clone(), PrivateKey::read(path)?);
        }
    }
    let mut failed: HashSet<TenantName> = HashSet::new();
    let mut gone = None;
    let mut changes = Vec::with_capacity(steps.len());
    for Step { tenant, said, act } in steps {
        let mut change = Change {
            tenant: tenant.clone(),
            said,
            state: Outcome::NotTried,
            why: None,
            problem: None,
        };
        if gone.is_none() && !failed.contains(&tenant) {
            match take(client, &tenant, act, &keys).await {
                Ok(()) => change.state = Outcome::Done,
                Err(failure) => {
                    change.state = Outcome::Failed;
                    change.why = Some(failure.chain());
                    change.problem = failure.problem().cloned().map(Box::new);
                    failed.insert(tenant);
                    if failure.status() == super::ExitStatus::Unreachable {
                        gone = Some(failure);
                    }
                }
            }
        }
        changes.push(change);
    }
    Ok((changes, gone))
}

async fn take(
    client: &Client,
    tenant: &TenantName,
    act: Act,
    keys: &HashMap<PathBuf, PrivateKey>,
) -> Result<(), Failure> {
    let none = Precondition::None;
    match act {
        Act::PutTenant(write) => drop(client.put_tenant(tenant, &write, none).await?),
        Act::PutKey(kid, jwk) => drop(client.put_key(tenant, &kid, &jwk, none).await?),
        Act::PutVariable(id, write) => drop(client.put_variable(tenant, &id, &write, none).await?),
        Act::PutInstances(module, instances) => {
            client
                .put_module_instances(tenant, &module, &instances, none)
                .await?;
        }
        Act::PutGrants(module, grants) => {
            client
                .put_module_grants(tenant, &module, &grants, none)
                .await?;
        }
        Act::PutRoute(id, write) => drop(client.put_route(tenant, &id, &write, none).await?),
        Act::DeleteRoute(id) => client.delete_route(tenant, &id, none).await?,
        Act::DeleteModule(module) => client.delete_module(tenant, &module, none).await?,
        Act::DeleteVariable(id) => client.delete_variable(tenant, &id, none).await?,
        Act::DeleteKey(kid) => client.delete_key(tenant, &kid, none).await?,
        Act::DeleteTenant => client.delete_tenant(tenant, none).await?,
        Act::Deploy(module, component, highest) => {
            let key = component.sign_with.as_ref().and_then(|path| keys.get(path));
            let key = key.ok_or_else(|| {
                Failure::Usage(format!("module {module} has no key to sign with"))
            })?;
            let now = system_clock()();
            // One that was deleted has a highest version too, which is not in the node's answer.
            let version = deploy::next_version(client, tenant, &module, now)
                .await?
                .max(highest.saturating_add(1));
            let statement = Statement {
                tenant: tenant.clone(),
                module: module.clone(),
                version,
                digest: component.digest,
                iat: now,
                exp: now.saturating_add(STATEMENT_LIFETIME_S),
            };
            let upload = UploadRequest {
                tenant: tenant.clone(),
                module,
                statement: Some(sign(key, &statement)),
                component: Component::File(component.path),
                precondition: none,
                respond_async: true,
            };
            deploy::publish(client, &upload, component.bytes).await?;
        }
    }
    Ok(())
}

fn report(
    context: &Context,
    changes: Vec<Change>,
    left: Vec<String>,
    secrets_left: u64,
) -> Result<(), Failure> {
    let count = |state| {
        changes
            .iter()
            .filter(|change| change.state == state)
            .count()
    };
    let report = Report {
        done: count(Outcome::Done),
        failed: count(Outcome::Failed),
        not_tried: count(Outcome::NotTried),
        changes,
        left,
        secrets_left,
    };
    context.show(&report, || text(&report))?;
    if report.failed > 0 {
        Err(Failure::WouldBeRefused)
    } else {
        Ok(())
    }
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    for change in &report.changes {
        let said = &change.said;
        text.push_str(&format!(
            "{} {}: {}",
            said.how.sign(),
            change.tenant,
            said.what
        ));
        if let Some(detail) = &said.detail {
            text.push_str(&format!(" ({})", plain(detail)));
        }
        match change.state {
            Outcome::Planned | Outcome::Done => {}
            Outcome::NotTried => text.push_str("  NOT TRIED"),
            Outcome::Failed => {
                let why = change.why.as_deref().unwrap_or_default();
                text.push_str(&format!("  FAILED: {}", plain(why)));
            }
        }
        text.push('\n');
    }
    for left in report.left.iter().take(LEFT_SHOWN_MAX) {
        text.push_str(&format!(
            "not described, removed with --prune only: {left}\n"
        ));
    }
    if report.left.len() > LEFT_SHOWN_MAX {
        let more = report.left.len() - LEFT_SHOWN_MAX;
        text.push_str(&format!("and {more} more\n"));
    }
    if report.secrets_left > 0 {
        text.push_str(&format!(
            "{} secrets are there and stay as they are; --set-secrets writes them again\n",
            report.secrets_left
        ));
    }
    let planned = report.changes.len() - report.done - report.failed - report.not_tried;
    text.push_str(&match (report.changes.len(), planned) {
        (0, _) => "nothing to change\n".to_owned(),
        (_, 0) => format!(
            "{} done, {} failed, {} not tried\n",
            report.done, report.failed, report.not_tried
        ),
        (_, planned) => format!("{planned} changes\n"),
    });
    text
}
