//! A Spin application's manifest (`spin.toml`, version 2) as modules, grants and routes.
//!
//! Takes the text; gives what to deploy, or everything in it that this node has no counterpart for. Nothing is dropped
//! silently: what is left out changes what a program does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use edge_config::{ModuleName, OutboundPattern, PathPrefix, StoreName};
use serde::Deserialize;

use super::failure::Failure;
use super::files::{self, Mounted};
use crate::view::Grants;

/// The file's name, by which it is told from a component.
pub(super) const FILE_NAME: &str = "spin.toml";
/// The version of the format that is read.
const MANIFEST_VERSION: u32 = 2;
/// Keys of a component that concern its making and not its running.
const OF_THE_BUILD: [&str; 4] = ["build", "description", "tool", "targets"];

/// What an application comes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Application {
    /// In order of name.
    pub(super) modules: Vec<AppModule>,
}

/// One component of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct AppModule {
    pub(super) name: ModuleName,
    pub(super) file: PathBuf,
    pub(super) grants: Grants,
    /// What its guests may read.
    pub(super) files: Vec<AppFiles>,
    /// Patterns of what they may not.
    pub(super) excluded: Vec<String>,
    /// Its variables that have a value, in order of name.
    pub(super) variables: Vec<AppVariable>,
    /// Those that have none.
    pub(super) unset: Vec<String>,
    /// Path prefixes that it is routed at.
    pub(super) paths: Vec<PathPrefix>,
    /// Those of them that match one path in Spin, and all below it here.
    pub(super) widened: Vec<String>,
}

/// Files of a component, relative to the manifest's folder.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(super) enum AppFiles {
    /// Those that a pattern matches, at the same paths.
    Matching(String),
    /// A file, or all in a folder, somewhere else.
    Placed(Placed),
}

/// A file, or all in a folder, at a destination.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Placed {
    source: PathBuf,
    destination: String,
}

impl AppModule {
    /// Its files, found in the manifest's folder.
    ///
    /// # Errors
    /// Where they cannot be read, or not deployed.
    pub(super) fn mounted(&self, folder: &Path) -> Result<Mounted, Failure> {
        let mut mounted = Mounted::new();
        for entry in &self.files {
            match entry {
                AppFiles::Matching(pattern) => files::add_matching(&mut mounted, folder, pattern)?,
                AppFiles::Placed(Placed {
                    source,
                    destination,
                }) => files::add(&mut mounted, &folder.join(source), destination)?,
            }
        }
        files::exclude(&mut mounted, &self.excluded)?;
        Ok(mounted)
    }
}

/// A variable of a component.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct AppVariable {
    pub(super) name: String,
    pub(super) value: String,
    pub(super) secret: bool,
}

/// What an application declares of a variable.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Declared {
    default: Option<String>,
    required: bool,
    secret: bool,
}

#[derive(Deserialize)]
struct Manifest {
    spin_manifest_version: u32,
    #[serde(default)]
    variables: BTreeMap<String, Declared>,
    #[serde(default)]
    trigger: BTreeMap<String, Vec<Trigger>>,
    #[serde(default)]
    component: BTreeMap<String, Component>,
    #[serde(flatten)]
    others: BTreeMap<String, toml::Value>,
}

#[derive(Deserialize)]
struct Trigger {
    component: Option<toml::Value>,
    route: Option<toml::Value>,
    #[serde(flatten)]
    others: BTreeMap<String, toml::Value>,
}

#[derive(Deserialize)]
struct Component {
    source: toml::Value,
    #[serde(default)]
    key_value_stores: Vec<String>,
    #[serde(default)]
    sqlite_databases: Vec<String>,
    #[serde(default)]
    allowed_outbound_hosts: Vec<String>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    #[serde(default)]
    variables: BTreeMap<String, String>,
    #[serde(default)]
    files: Vec<AppFiles>,
    #[serde(default)]
    exclude_files: Vec<String>,
    #[serde(flatten)]
    others: BTreeMap<String, toml::Value>,
}

/// Reads a manifest that lies in `folder`; `given` are values of its variables, in the place of their defaults.
///
/// # Errors
/// Each thing that is wrong with it or has no counterpart here, one a line.
pub(super) fn read(
    text: &str,
    folder: &Path,
    given: &BTreeMap<String, String>,
) -> Result<Application, Vec<String>> {
    let mut manifest: Manifest = toml::from_str(text).map_err(|error| vec![error.to_string()])?;
    let version = manifest.spin_manifest_version;
    if version != MANIFEST_VERSION {
        return Err(vec![format!(
            "spin_manifest_version = {version}; allowed: {MANIFEST_VERSION}"
        )]);
    }
    let mut wrong = Vec::new();
    for key in manifest.others.keys().filter(|key| *key != "application") {
        wrong.push(format!("[{key}] is not supported"));
    }
    for name in given
        .keys()
        .filter(|name| !manifest.variables.contains_key(*name))
    {
        wrong.push(format!(
            "[variables] has no {name}, which a value was given for"
        ));
    }
    let mut paths: BTreeMap<&str, Vec<(PathPrefix, Option<String>)>> = BTreeMap::new();
    for (kind, triggers) in &manifest.trigger {
        if kind != "http" {
            wrong.push(format!(
                "[[trigger.{kind}]] is not supported; what is: http"
            ));
            continue;
        }
        for trigger in triggers {
            match route(trigger, &manifest.component) {
                Ok(Some((component, path))) => paths.entry(component).or_default().push(path),
                Ok(None) => {}
                Err(why) => wrong.push(why),
            }
        }
    }
    let mut modules = Vec::new();
    for (id, component) in &mut manifest.component {
        let routes = paths.remove(id.as_str()).unwrap_or_default();
        let mut faults = Vec::new();
        let (variables, unset) = variables(component, &manifest.variables, given, &mut faults);
        let module = module(id, component, routes, folder).map_err(|mut wrong| {
            wrong.append(&mut faults);
            wrong
        });
        let module = match module {
            Ok(_) if !faults.is_empty() => Err(faults),
            module => module,
        };
        match module {
            Ok(module) => modules.push(AppModule {
                variables,
                unset,
                files: std::mem::take(&mut component.files),
                excluded: std::mem::take(&mut component.exclude_files),
                ..module
            }),
            Err(faults) => wrong.extend(
                faults
                    .into_iter()
                    .map(|fault| format!("[component.{id}] {fault}")),
            ),
        }
    }
    if wrong.is_empty() && modules.is_empty() {
        wrong.push("there is no [component]".to_owned());
    }
    if wrong.is_empty() {
        Ok(Application { modules })
    } else {
        Err(wrong)
    }
}

/// A trigger's component and path; `None` where it is reached from within the application alone.
#[expect(
    clippy::type_complexity,
    reason = "a pair of what the caller sorts by and what it keeps"
)]
fn route<'a>(
    trigger: &'a Trigger,
    components: &BTreeMap<String, Component>,
) -> Result<Option<(&'a str, (PathPrefix, Option<String>))>, String> {
    if let Some(key) = trigger.others.keys().next() {
        return Err(format!("[[trigger.http]] {key} is not supported"));
    }
    let component = match &trigger.component {
        Some(toml::Value::String(component)) if components.contains_key(component) => component,
        Some(toml::Value::String(component)) => {
            return Err(format!(
                "[[trigger.http]] component = {component:?} is none of this manifest"
            ));
        }
        Some(_) => {
            return Err("[[trigger.http]] component is not the name of a [component]".to_owned());
        }
        None => return Err("[[trigger.http]] has no component".to_owned()),
    };
    let text = match &trigger.route {
        Some(toml::Value::String(text)) => text,
        Some(toml::Value::Table(table))
            if table.get("private") == Some(&toml::Value::Boolean(true)) =>
        {
            return Ok(None);
        }
        _ => {
            return Err(format!(
                "[[trigger.http]] of {component:?} has no route that is a path"
            ));
        }
    };
    if text.contains(':') || text.contains('{') {
        return Err(format!(
            "[[trigger.http]] route = {text:?} has a part that varies; allowed: a path, with /... at its end for all below it"
        ));
    }
    let (path, widened) = match text.strip_suffix("/...") {
        Some(path) => (path, None),
        None => (text.as_str(), Some(text.clone())),
    };
    let path = if path.is_empty() { "/" } else { path };
    let path = path
        .parse()
        .map_err(|error| format!("[[trigger.http]] route = {text:?}: {error}"))?;
    Ok(Some((component, (path, widened))))
}

/// A component's variables: those with a value, and the names of those without.
fn variables(
    component: &Component,
    declared: &BTreeMap<String, Declared>,
    given: &BTreeMap<String, String>,
    wrong: &mut Vec<String>,
) -> (Vec<AppVariable>, Vec<String>) {
    let (mut variables, mut unset) = (Vec::new(), Vec::new());
    for (name, template) in &component.variables {
        if !edge_config::is_variable_name(name) {
            wrong.push(format!(
                "variables: {name:?} is no name of a variable; allowed: {}",
                edge_config::VARIABLE_NAMES
            ));
            continue;
        }
        let (mut value, mut secret, mut whole) = (String::new(), false, true);
        let mut rest = template.as_str();
        while let Some((before, after)) = rest.split_once("{{") {
            value.push_str(before);
            let Some((inner, after)) = after.split_once("}}") else {
                wrong.push(format!(
                    "variables: {name} = {template:?} has a {{{{ without its }}}}"
                ));
                break;
            };
            let inner = inner.trim();
            match declared.get(inner) {
                None => wrong.push(format!(
                    "variables: {name} names {inner:?}, which [variables] has not"
                )),
                Some(variable) => {
                    secret |= variable.secret;
                    match given.get(inner).or(variable.default.as_ref()) {
                        Some(text) => value.push_str(text),
                        None => whole = false,
                    }
                    if variable.default.is_none() && !variable.required {
                        wrong.push(format!(
                            "[variables] {inner} is neither required nor has a default"
                        ));
                    }
                }
            }
            rest = after;
        }
        value.push_str(rest);
        if whole {
            variables.push(AppVariable {
                name: name.clone(),
                value,
                secret,
            });
        } else {
            unset.push(name.clone());
        }
    }
    (variables, unset)
}

fn module(
    id: &str,
    component: &Component,
    routes: Vec<(PathPrefix, Option<String>)>,
    folder: &Path,
) -> Result<AppModule, Vec<String>> {
    let mut wrong = Vec::new();
    let name: Option<ModuleName> = id
        .replace('_', "-")
        .to_ascii_lowercase()
        .parse()
        .map_err(|error: edge_config::LabelError| wrong.push(error.to_string()))
        .ok();
    let file = match &component.source {
        toml::Value::String(source) => folder.join(source),
        _ => {
            wrong.push("source is not a file; those from elsewhere are not supported".to_owned());
            PathBuf::new()
        }
    };
    for (key, value) in &component.others {
        let is_empty = value.as_array().is_some_and(Vec::is_empty)
            || value.as_table().is_some_and(toml::Table::is_empty);
        if !is_empty && !OF_THE_BUILD.contains(&key.as_str()) {
            wrong.push(format!("{key} is not supported"));
        }
    }
    let mut grants = Grants {
        environment: component.environment.clone(),
        ..Grants::default()
    };
    for store in &component.key_value_stores {
        match store.parse::<StoreName>() {
            Ok(store) => grants.key_value.push(store),
            Err(error) => wrong.push(format!("key_value_stores: {error}")),
        }
    }
    for database in &component.sqlite_databases {
        match database.parse::<StoreName>() {
            Ok(database) => grants.databases.push(database),
            Err(error) => wrong.push(format!("sqlite_databases: {error}")),
        }
    }
    for host in &component.allowed_outbound_hosts {
        match host.parse::<OutboundPattern>() {
            Ok(host) => grants.outbound.push(host),
            Err(error) => wrong.push(format!("allowed_outbound_hosts: {error}")),
        }
    }
    if let Err(error) = grants.check() {
        wrong.push(error.to_string());
    }
    let Some(name) = name.filter(|_| wrong.is_empty()) else {
        return Err(wrong);
    };
    let widened = routes.iter().filter_map(|(_, widened)| widened.clone());
    Ok(AppModule {
        name,
        file,
        grants,
        files: Vec::new(),
        excluded: Vec::new(),
        variables: Vec::new(),
        unset: Vec::new(),
        widened: widened.collect(),
        paths: routes.into_iter().map(|(path, _)| path).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOP: &str = r#"
        spin_manifest_version = 2

        [application]
        name = "shop"
        version = "0.1.0"

        [[trigger.http]]
        route = "/..."
        component = "front_end"

        [[trigger.http]]
        route = "/api/..."
        component = "api"

        [[trigger.http]]
        route = "/health"
        component = "api"

        [[trigger.http]]
        route = { private = true }
        component = "api"

        [component.front_end]
        source = "target/front.wasm"
        environment = { GREETING = "Hello" }
        [component.front_end.build]
        command = "cargo build"

        [component.api]
        source = "api.wasm"
        key_value_stores = ["default", "cache"]
        sqlite_databases = ["default", "orders"]
        allowed_outbound_hosts = ["https://api.example.com", "http://self"]
        files = ["pages/*.html", { source = "assets", destination = "/static" }]
        exclude_files = ["**/*.map"]
        [component.api.variables]
        api_url = "https://{{ host }}/{{version}}"
        token = "{{ token }}"
        later = "{{ later }}"
        plain = "as it is"

        [variables]
        host = { default = "api.example.com" }
        version = { default = "v1" }
        token = { required = true, secret = true }
        later = { required = true }
    "#;

    #[test]
    fn components_become_modules_with_grants_and_routes() {
        let given = BTreeMap::from([("token".to_owned(), "s3cret".to_owned())]);
        let application = read(SHOP, Path::new("/app"), &given).unwrap();
        let [api, front] = &*application.modules else {
            panic!("{application:?}");
        };
        assert_eq!(
            (api.name.as_str(), front.name.as_str()),
            ("api", "front-end")
        );
        assert_eq!(front.file, Path::new("/app/target/front.wasm"));
        assert_eq!(front.grants.environment["GREETING"], "Hello");
        assert_eq!(front.paths, ["/".parse().unwrap()]);
        assert_eq!(
            api.paths,
            ["/api".parse().unwrap(), "/health".parse().unwrap()]
        );
        assert_eq!(api.widened, ["/health"]);
        let stores: Vec<_> = api.grants.key_value.iter().map(StoreName::as_str).collect();
        assert_eq!(stores, ["default", "cache"]);
        let databases: Vec<_> = api.grants.databases.iter().map(StoreName::as_str).collect();
        assert_eq!(databases, ["default", "orders"]);
        let placed = Placed {
            source: "assets".into(),
            destination: "/static".to_owned(),
        };
        let pages = AppFiles::Matching("pages/*.html".to_owned());
        assert_eq!(api.files, [pages, AppFiles::Placed(placed)]);
        assert_eq!(api.excluded, ["**/*.map"]);
        assert_eq!(api.grants.outbound.len(), 2);
        let variables: Vec<_> = api
            .variables
            .iter()
            .map(|variable| (&*variable.name, &*variable.value, variable.secret))
            .collect();
        let wanted = [
            ("api_url", "https://api.example.com/v1", false),
            ("plain", "as it is", false),
            ("token", "s3cret", true),
        ];
        assert_eq!(variables, wanted);
        assert_eq!(api.unset, ["later"]);
    }

    #[test]
    fn whatever_has_no_counterpart_is_named_all_of_it_at_once() {
        let text = r#"
            spin_manifest_version = 2
            [[trigger.redis]]
            channel = "x"
            component = "a"
            [[trigger.http]]
            route = "/users/:id"
            component = "a"
            [[trigger.http]]
            route = "/b"
            component = "b"
            [component.a]
            source = { url = "https://example.com/a.wasm", digest = "sha256:00" }
            sqlite_databases = ["a/b"]
            ai_models = ["llama2"]
            key_value_stores = ["a/b"]
            allowed_outbound_hosts = ["example.com"]
            [component.a.variables]
            host = "{{ nowhere }}"
            open = "{{ half"
            Bad = "x"
        "#;
        let given = BTreeMap::from([("nobody".to_owned(), String::new())]);
        let wrong = read(text, Path::new(""), &given).unwrap_err();
        for said in [
            "[[trigger.redis]] is not supported",
            "route = \"/users/:id\" has a part that varies",
            "component = \"b\" is none of this manifest",
            "[component.a] source is not a file",
            "[variables] has no nobody, which a value was given for",
            "[component.a] variables: host names \"nowhere\", which [variables] has not",
            "[component.a] variables: open = \"{{ half\" has a {{ without its }}",
            "[component.a] variables: \"Bad\" is no name of a variable",
            "[component.a] sqlite_databases: store name \"a/b\"",
            "[component.a] ai_models is not supported",
            "[component.a] key_value_stores: store name \"a/b\"",
            "[component.a] allowed_outbound_hosts: outbound host \"example.com\" has no scheme",
        ] {
            assert!(
                wrong.iter().any(|line| line.contains(said)),
                "{said}: {wrong:#?}"
            );
        }
        for (text, said) in [
            (
                "spin_manifest_version = 1",
                "spin_manifest_version = 1; allowed: 2",
            ),
            ("spin_manifest_version = 2", "there is no [component]"),
            ("", "missing field `spin_manifest_version`"),
            ("[", "TOML"),
        ] {
            let wrong = read(text, Path::new(""), &BTreeMap::new()).unwrap_err();
            assert!(
                wrong.iter().any(|line| line.contains(said)),
                "{text}: {wrong:?}"
            );
        }
    }
}
