//! What files say that a node should have.
//!
//! Takes TOML files and the files and variables that they name; gives all of it checked, or everything that is wrong with
//! it at once. Never asks a node.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use edge_config::{
    Digest, HostPattern, KeyId, LimitOverrides, ModuleName, RouteId, TenantName, VariableId,
};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::cli::{deploy, key};
use crate::view::{
    Grants, InstanceUse, PublicJwk, RouteWrite, SecretText, TenantWrite, VARIABLE_BYTES_MAX,
    VariableWrite,
};

/// The largest file of desired state that is read, in bytes.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// The most such files of one folder.
const FILES_MAX: usize = 4096;
/// The most faults that are named.
const FAULTS_MAX: usize = 20;

/// As it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
struct RawFile {
    tenants: BTreeMap<TenantName, RawTenant>,
    remove_tenants: Vec<TenantName>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawTenant {
    limits: LimitOverrides,
    hosts: Vec<HostPattern>,
    suspended: bool,
    sign_with: Option<PathBuf>,
    keys: Option<Vec<PathBuf>>,
    variables: Option<BTreeMap<String, RawValue>>,
    modules: Option<BTreeMap<ModuleName, RawModule>>,
    routes: Option<BTreeMap<RouteId, RawRoute>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawModule {
    component: Option<PathBuf>,
    sign_with: Option<PathBuf>,
    instances: Option<InstanceUse>,
    grants: Option<Grants>,
    variables: Option<BTreeMap<String, RawValue>>,
}

#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a text, { file = … }, { secret_file = … } or { secret_env = … }"
)]
enum RawValue {
    Plain(String),
    PlainFile(PlainFile),
    SecretFile(SecretFile),
    SecretEnv(SecretEnv),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlainFile {
    file: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SecretFile {
    secret_file: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SecretEnv {
    secret_env: String,
}

#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a module's name or { module = …, version = … }"
)]
enum RawRoute {
    Module(ModuleName),
    Pinned(RouteWrite),
}

/// What should be, checked.
#[derive(Debug, Default)]
pub(super) struct Desired {
    /// In order of name.
    pub(super) tenants: BTreeMap<TenantName, DesiredTenant>,
    /// Tenants that are to go.
    pub(super) remove: BTreeSet<TenantName>,
}

/// A tenant as it should be. What is `None` is left as it is.
#[derive(Debug)]
pub(super) struct DesiredTenant {
    pub(super) write: TenantWrite,
    pub(super) keys: Option<BTreeMap<KeyId, PublicJwk>>,
    pub(super) modules: Option<BTreeMap<ModuleName, DesiredModule>>,
    pub(super) routes: Option<BTreeMap<RouteId, RouteWrite>>,
    pub(super) variables: BTreeMap<VariableId, VariableWrite>,
    /// Whose variables are all there should be: the tenant's (`None`), and modules'.
    pub(super) variables_of: BTreeSet<Option<String>>,
}

/// A module as it should be.
#[derive(Debug)]
pub(super) struct DesiredModule {
    pub(super) component: Option<DesiredComponent>,
    pub(super) instances: Option<InstanceUse>,
    pub(super) grants: Option<Grants>,
}

/// What a module's active version should be made of.
#[derive(Debug, Clone)]
pub(super) struct DesiredComponent {
    pub(super) path: PathBuf,
    pub(super) digest: Digest,
    pub(super) bytes: u64,
    /// The publisher's private key, to sign with where the node has another component.
    pub(super) sign_with: Option<PathBuf>,
}

/// Reads a file, or every `.toml` in a folder in order of name.
///
/// # Errors
/// Everything that is wrong, a line each; at most [`FAULTS_MAX`] of them.
pub(super) fn read(path: &Path) -> Result<Desired, Vec<String>> {
    let mut reading = Reading::default();
    match files(path) {
        Ok(files) => {
            for file in files {
                reading.file(&file);
            }
        }
        Err(why) => reading.faults.push(why),
    }
    let both: Vec<_> = reading
        .desired
        .remove
        .iter()
        .filter(|name| reading.desired.tenants.contains_key(*name))
        .map(|name| format!("tenant `{name}` is both described and to be removed"))
        .collect();
    reading.faults.extend(both);
    if reading.faults.is_empty() {
        return Ok(reading.desired);
    }
    let more = reading.faults.len().saturating_sub(FAULTS_MAX);
    reading.faults.truncate(FAULTS_MAX);
    if more > 0 {
        reading.faults.push(format!("and {more} more"));
    }
    Err(reading.faults)
}

fn files(path: &Path) -> Result<Vec<PathBuf>, String> {
    let failed = |error: std::io::Error| format!("{} cannot be read: {error}", path.display());
    if !path.metadata().map_err(failed)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in path.read_dir().map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        if file.extension().is_some_and(|ending| ending == "toml") {
            files.push(file);
        }
        if files.len() > FILES_MAX {
            return Err(format!(
                "{} has more than {FILES_MAX} files",
                path.display()
            ));
        }
    }
    if files.is_empty() {
        return Err(format!("{} has no .toml files", path.display()));
    }
    files.sort_unstable();
    Ok(files)
}

#[derive(Default)]
struct Reading {
    desired: Desired,
    faults: Vec<String>,
    /// Many tenants may have the same component.
    hashed: HashMap<PathBuf, (Digest, u64)>,
}

/// Where a fault is, and what names in the file are relative to.
struct Place<'a> {
    file: &'a Path,
    tenant: &'a TenantName,
}

impl Place<'_> {
    fn path(&self, named: &Path) -> PathBuf {
        self.file.parent().unwrap_or(Path::new("")).join(named)
    }

    fn fault(&self, what: &str, why: impl std::fmt::Display) -> String {
        format!(
            "{}: tenant `{}`: {what}: {why}",
            self.file.display(),
            self.tenant
        )
    }
}

impl Reading {
    fn file(&mut self, file: &Path) {
        let raw = read_text(file, FILE_BYTES_MAX).and_then(|text| {
            toml::from_str::<RawFile>(&text)
                .map_err(|error| error.to_string().trim_end().to_owned())
        });
        let raw = match raw {
            Ok(raw) => raw,
            Err(why) => return self.faults.push(format!("{}: {why}", file.display())),
        };
        self.desired.remove.extend(raw.remove_tenants);
        for (name, raw) in raw.tenants {
            let place = Place {
                file,
                tenant: &name,
            };
            let tenant = self.tenant(&place, raw);
            if self.desired.tenants.contains_key(&name) {
                self.faults
                    .push(place.fault("its name", "it is described twice"));
            }
            self.desired.tenants.insert(name, tenant);
        }
    }

    fn tenant(&mut self, place: &Place<'_>, raw: RawTenant) -> DesiredTenant {
        let mut tenant = DesiredTenant {
            write: TenantWrite {
                limits: raw.limits,
                hosts: raw.hosts,
                suspended: raw.suspended,
            },
            keys: raw.keys.map(|files| self.keys(place, &files)),
            modules: None,
            routes: raw.routes.map(|routes| {
                let routes = routes.into_iter().map(|(id, to)| match to {
                    RawRoute::Module(module) => (
                        id,
                        RouteWrite {
                            module,
                            version: None,
                        },
                    ),
                    RawRoute::Pinned(write) => (id, write),
                });
                routes.collect()
            }),
            variables: BTreeMap::new(),
            variables_of: BTreeSet::new(),
        };
        if let Some(values) = raw.variables {
            self.variables(place, None, values, &mut tenant);
        }
        if let Some(modules) = raw.modules {
            let mut described = BTreeMap::new();
            for (name, raw_module) in modules {
                let sign_with = raw_module.sign_with.as_ref().or(raw.sign_with.as_ref());
                let sign_with = sign_with.map(|path| place.path(path));
                let component = raw_module
                    .component
                    .as_ref()
                    .and_then(|named| self.component(place, &name, named, sign_with));
                if let Some(grants) = &raw_module.grants
                    && let Err(error) = grants.check()
                {
                    let what = format!("module `{name}`: grants");
                    self.faults.push(place.fault(&what, error));
                }
                if let Some(values) = raw_module.variables {
                    self.variables(place, Some(&name), values, &mut tenant);
                }
                let module = DesiredModule {
                    component,
                    instances: raw_module.instances,
                    grants: raw_module.grants,
                };
                described.insert(name, module);
            }
            tenant.modules = Some(described);
        }
        tenant
    }

    fn keys(&mut self, place: &Place<'_>, files: &[PathBuf]) -> BTreeMap<KeyId, PublicJwk> {
        let mut keys = BTreeMap::new();
        for file in files {
            let read = key::read_public(&place.path(file)).and_then(|jwk| {
                let kid: KeyId = jwk
                    .id()
                    .parse()
                    .map_err(|error| format!("its id: {error}"))?;
                jwk.bytes()
                    .map_err(|(field, why)| format!("`{field}`: {why}"))?;
                Ok((kid, jwk))
            });
            match read {
                Ok((kid, jwk)) => drop(keys.insert(kid, jwk)),
                Err(why) => {
                    let what = format!("key {}", file.display());
                    self.faults.push(place.fault(&what, why));
                }
            }
        }
        keys
    }

    fn component(
        &mut self,
        place: &Place<'_>,
        module: &ModuleName,
        named: &Path,
        sign_with: Option<PathBuf>,
    ) -> Option<DesiredComponent> {
        let path = place.path(named);
        let hashed = match self.hashed.get(&path) {
            Some(hashed) => Ok(*hashed),
            None => deploy::hash(&path),
        };
        match hashed {
            Ok((digest, bytes)) => {
                self.hashed.insert(path.clone(), (digest, bytes));
                Some(DesiredComponent {
                    path,
                    digest,
                    bytes,
                    sign_with,
                })
            }
            Err(error) => {
                let what = format!("module `{module}`: component {}", named.display());
                self.faults.push(place.fault(&what, error));
                None
            }
        }
    }

    fn variables(
        &mut self,
        place: &Place<'_>,
        module: Option<&ModuleName>,
        values: BTreeMap<String, RawValue>,
        tenant: &mut DesiredTenant,
    ) {
        tenant.variables_of.insert(module.map(ToString::to_string));
        for (name, raw) in values {
            let id = match module {
                None => name.clone(),
                Some(module) => format!("{module}/{name}"),
            };
            let parsed: Result<VariableId, _> = id.parse();
            let write = value(place, raw);
            match (parsed, write) {
                // A name with a module in it would be another's.
                (Ok(parsed), Ok(write)) if parsed.name() == name => {
                    tenant.variables.insert(parsed, write);
                }
                (Ok(_), Ok(_)) => {
                    let what = format!("variable `{id}`");
                    let why = "a module's own variables are described with the module";
                    self.faults.push(place.fault(&what, why));
                }
                (Err(error), _) => {
                    let what = format!("variable `{id}`");
                    self.faults.push(place.fault(&what, error));
                }
                (_, Err(why)) => {
                    let what = format!("variable `{id}`");
                    self.faults.push(place.fault(&what, why));
                }
            }
        }
    }
}

/// A variable's value; what is wrong with one never repeats it.
fn value(place: &Place<'_>, raw: RawValue) -> Result<VariableWrite, String> {
    let from_file = |named: &Path| {
        let text = read_text(&place.path(named), VARIABLE_BYTES_MAX as u64 + 2);
        let mut text = text.map_err(|why| format!("{}: {why}", named.display()))?;
        if text.ends_with('\n') {
            text.pop();
        }
        Ok::<SecretText, String>(std::mem::take(&mut *text).into())
    };
    let (value, secret) = match raw {
        RawValue::Plain(text) => (text.into(), false),
        RawValue::PlainFile(PlainFile { file }) => (from_file(&file)?, false),
        RawValue::SecretFile(SecretFile { secret_file }) => (from_file(&secret_file)?, true),
        RawValue::SecretEnv(SecretEnv { secret_env }) => match std::env::var(&secret_env) {
            Ok(text) => (text.into(), true),
            Err(std::env::VarError::NotPresent) => {
                return Err(format!("the environment has no {secret_env:?}"));
            }
            Err(std::env::VarError::NotUnicode(_)) => {
                return Err(format!("{secret_env:?} in the environment is not UTF-8"));
            }
        },
    };
    let write = VariableWrite { value, secret };
    write.check().map_err(|error| error.to_string())?;
    Ok(write)
}

fn read_text(path: &Path, bytes_max: u64) -> Result<Zeroizing<String>, String> {
    let mut text = Zeroizing::new(String::new());
    let read = File::open(path).and_then(|file| file.take(bytes_max + 1).read_to_string(&mut text));
    read.map_err(|error| format!("it cannot be read: {error}"))?;
    if text.len() as u64 > bytes_max {
        return Err(format!("it has more than {bytes_max} bytes"));
    }
    Ok(text)
}
