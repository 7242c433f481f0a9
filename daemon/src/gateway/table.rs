//! The routing table: one immutable value, swapped whole.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rustls::SignatureScheme;

use super::compute::Habit;
use super::hosts::Hosts;
use super::spin::RouteFields;
use super::tls::{Certificates, Served, TlsSettings};
use crate::engine::{Instances, Resident, Resting, Slot};
use crate::host::{Capabilities, Services};
use crate::link::{CertificateTarget, ModuleTarget, TableChange, TenantLimits};
use crate::quota::{Budget, Tenant};

/// What a hostname and path lead to.
pub struct Route {
    /// Whose it is.
    pub tenant: Arc<Tenant>,
    /// The module's name.
    pub module: Arc<str>,
    /// Its version.
    pub version: u64,
    /// Its component.
    pub slot: Arc<Slot>,
    /// Whether its requests compute.
    pub habit: Arc<Habit>,
    /// Instances that rest between requests, where they are used again.
    pub instances: Option<Arc<Instances>>,
    /// What its guests may call, and on whose account.
    pub capabilities: Arc<Capabilities>,
    /// What its requests are told of it.
    pub(super) fields: RouteFields,
}

/// All routes at one revision.
#[derive(Default, Clone)]
pub struct Table {
    exact: Hosts<Paths>,
    /// By suffix: `acme.test` for `*.acme.test`.
    wildcard: Hosts<Paths>,
    wildcards: bool,
    certificates: Certificates,
}

/// The path prefixes of one hostname, longest first.
#[derive(Default, Clone)]
struct Paths(Vec<(Box<str>, Arc<Route>)>);

impl Table {
    /// The route of a request: the exact hostname before wildcards, a longer wildcard before a shorter one, and
    /// within a hostname the longest path prefix. A hostname none of whose prefixes match leaves the request to the
    /// next wildcard.
    ///
    /// `host` is normalised: lower case, no port, no trailing dot. `path` is the request's path as it came.
    #[must_use]
    pub fn find(&self, host: &str, path: &str) -> Option<&Arc<Route>> {
        if let Some(route) = self.exact.get(host).and_then(|paths| paths.find(path)) {
            return Some(route);
        }
        if !self.wildcards {
            return None;
        }
        let mut rest = host;
        while let Some((_, suffix)) = rest.split_once('.') {
            if let Some(route) = self.wildcard.get(suffix).and_then(|paths| paths.find(path)) {
                return Some(route);
            }
            rest = suffix;
        }
        None
    }

    /// The certificate that a server name gets.
    pub(super) fn certificate(
        &self,
        name: &str,
        schemes: &[SignatureScheme],
    ) -> Option<&Arc<Served>> {
        let owner = self.owner(name).map(|tenant| &**tenant.name());
        self.certificates.find(name, owner, schemes)
    }

    /// Who routes a hostname, on whatever path; a hostname and all wildcards over it are one tenant's.
    fn owner(&self, host: &str) -> Option<&Arc<Tenant>> {
        let mut rest = host;
        let mut paths = self.exact.get(host);
        while paths.is_none() {
            (_, rest) = rest.split_once('.')?;
            paths = self.wildcard.get(rest);
        }
        let (_, route) = paths?.0.first()?;
        Some(&route.tenant)
    }

    fn hosts<'a>(&mut self, host: &'a str) -> (&mut Hosts<Paths>, &'a str) {
        match host.strip_prefix("*.") {
            Some(suffix) => (&mut self.wildcard, suffix),
            None => (&mut self.exact, host),
        }
    }

    /// Whether there was another in its place.
    fn set(&mut self, host: &str, path: &str, route: Route) -> bool {
        self.wildcards |= host.starts_with("*.");
        let (hosts, host) = self.hosts(host);
        let Some(paths) = hosts.entry(host) else {
            return false;
        };
        let before = paths.0.len();
        paths.0.retain(|(prefix, _)| **prefix != *path);
        let replaced = paths.0.len() < before;
        paths.0.push((path.into(), Arc::new(route)));
        paths
            .0
            .sort_by(|(a, _), (b, _)| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        replaced
    }

    fn remove(&mut self, host: &str, path: &str) {
        let (hosts, host) = self.hosts(host);
        if hosts.get(host).is_none() {
            return;
        }
        let Some(paths) = hosts.entry(host) else {
            return;
        };
        paths.0.retain(|(prefix, _)| **prefix != *path);
        if paths.0.is_empty() {
            hosts.remove(host);
            self.wildcards = !self.wildcard.is_empty();
        }
    }
}

impl Paths {
    fn find(&self, path: &str) -> Option<&Arc<Route>> {
        self.0
            .iter()
            .find(|(prefix, _)| covers(prefix, path))
            .map(|(_, route)| route)
    }
}

/// Whether a path lies under a prefix, by whole segments: `/api` covers `/api` and `/api/x`, not `/apix`. The prefix is
/// in normal form, the path as it came: it is compared as the normal form has it (`edge_config::PathPrefix`).
fn covers(prefix: &str, path: &str) -> bool {
    if prefix == "/" {
        return true;
    }
    if !path.contains('%') {
        return path
            .strip_prefix(prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    }
    let mut path = normal(path.as_bytes());
    prefix.bytes().all(|byte| path.next() == Some(byte)) && matches!(path.next(), None | Some(b'/'))
}

/// The bytes of a path in normal form (RFC 3986 §6.2.2): percent-encoded ones in upper-case hex, none where the plain
/// character means the same. A `%` without two hex digits stays what it is.
fn normal(path: &[u8]) -> impl Iterator<Item = u8> {
    let mut rest = path;
    // Digits to come of a byte that stays encoded.
    let mut digits = 0_u8;
    std::iter::from_fn(move || {
        let (first, after) = rest.split_first()?;
        rest = after;
        if digits > 0 {
            digits -= 1;
            return Some(first.to_ascii_uppercase());
        }
        if *first == b'%'
            && let [high, low, after @ ..] = after
            && let (Some(high), Some(low)) = (hex_digit(*high), hex_digit(*low))
        {
            let byte = high << 4 | low;
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                rest = after;
                return Some(byte);
            }
            digits = 2;
        }
        Some(*first)
    })
}

fn hex_digit(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}

/// Turns changes into tables; keeps tenants and their counts across them.
pub struct TableBuilder {
    table: Table,
    tenants: HashMap<Box<str>, Arc<Tenant>>,
    /// By tenant and module: all its routes share them, and those that no route serves any more are gone.
    instances: HashMap<(Box<str>, Box<str>), Weak<Instances>>,
    resting: Arc<Resting>,
    services: Arc<Services>,
    /// Where TLS is spoken.
    tls: Option<TlsSettings>,
    /// By tenant and name.
    certificates: HashMap<(Box<str>, Box<str>), Arc<Served>>,
    frees: bool,
    memory_bytes_max: u64,
    memory: Arc<Budget>,
}

impl TableBuilder {
    /// An empty table; all tenants together may have `memory_bytes_max` bytes of memory for their guests, those of
    /// instances that are `resting` included.
    #[must_use]
    pub fn new(memory_bytes_max: u64, resting: Arc<Resting>, services: Arc<Services>) -> Self {
        Self {
            table: Table::default(),
            tenants: HashMap::new(),
            instances: HashMap::new(),
            resting,
            services,
            tls: None,
            certificates: HashMap::new(),
            frees: false,
            memory_bytes_max,
            memory: Arc::new(Budget::new(memory_bytes_max)),
        }
    }

    /// Has certificates served as well, with these settings.
    #[must_use]
    pub fn with_tls(mut self, tls: Option<TlsSettings>) -> Self {
        self.tls = tls;
        self
    }

    /// Applies changes in order and gives the table that follows. `full` drops every route and tenant first; tenants
    /// that come back keep their counts.
    pub fn apply(
        &mut self,
        full: bool,
        changes: Vec<TableChange>,
        resident: &Resident,
        now: Instant,
    ) -> Table {
        let mut before = HashMap::new();
        if full {
            self.frees = true;
            self.table = Table::default();
            self.certificates.clear();
            before = std::mem::take(&mut self.tenants);
        }
        for change in changes {
            match change {
                TableChange::Tenant { tenant, limits } => {
                    if let Some((name, known)) = before.remove_entry(tenant.as_str()) {
                        self.tenants.insert(name, known);
                    }
                    self.set_tenant(&tenant, limits, now);
                }
                TableChange::Quarantined { tenant, ms } => {
                    if let Some(tenant) = self.tenants.get(tenant.as_str()) {
                        tenant.rest_until(now + Duration::from_millis(ms));
                    }
                }
                TableChange::TenantGone { tenant } => {
                    self.tenants.remove(tenant.as_str());
                }
                TableChange::Route {
                    host,
                    path,
                    tenant,
                    target,
                } => {
                    // Control names a tenant before its routes; a route of nobody would serve nobody.
                    let Some(tenant) = self.tenants.get(tenant.as_str()).cloned() else {
                        continue;
                    };
                    let slot = resident.slot(target.artifact, target.world);
                    let instances = self.instances(&tenant, &slot, &target);
                    let module: Arc<str> = target.module.into();
                    let capabilities = Arc::new(Capabilities::new(
                        Arc::clone(&tenant),
                        Arc::clone(&module),
                        target.grants.unwrap_or_default(),
                        Arc::clone(&self.services),
                    ));
                    let route = Route {
                        tenant,
                        module,
                        version: target.version,
                        slot,
                        habit: Arc::default(),
                        instances,
                        capabilities,
                        fields: RouteFields::new(&path),
                    };
                    // At start nothing is loaded before it is asked for: then the table is full.
                    if !full {
                        resident.warm(&route.slot);
                    }
                    self.frees |= self.table.set(&host, &path, route);
                }
                TableChange::RouteGone { host, path } => {
                    self.frees = true;
                    self.table.remove(&host, &path);
                }
                TableChange::Certificate {
                    tenant,
                    name,
                    target,
                } => self.set_certificate(&tenant, &name, Some(target)),
                TableChange::CertificateGone { tenant, name } => {
                    self.set_certificate(&tenant, &name, None);
                }
            }
        }
        // What is guaranteed to one is not there for the others.
        let guaranteed: u64 = self
            .tenants
            .values()
            .map(|tenant| tenant.limits().memory_guaranteed_bytes)
            .fold(0, u64::saturating_add);
        self.memory
            .set_max(self.memory_bytes_max.saturating_sub(guaranteed));
        if self.frees {
            self.instances
                .retain(|_, instances| instances.strong_count() > 0);
        }
        self.table.clone()
    }

    /// Where the instances rest that a route needs: with those of the module's other routes, if they serve the same.
    fn instances(
        &mut self,
        tenant: &Arc<Tenant>,
        slot: &Arc<Slot>,
        target: &ModuleTarget,
    ) -> Option<Arc<Instances>> {
        let reuse = target.reuse?;
        let key = (Box::from(&**tenant.name()), Box::from(&*target.module));
        let known = self.instances.get(&key).and_then(Weak::upgrade);
        if let Some(known) = known.filter(|known| known.fit(tenant, slot, reuse, &target.grants)) {
            return Some(known);
        }
        let instances = self.resting.module(
            Arc::clone(tenant),
            Arc::clone(slot),
            reuse,
            target.grants.clone(),
        );
        self.instances.insert(key, Arc::downgrade(&instances));
        Some(instances)
    }

    /// Puts a certificate in the place of the one of that name, or takes that away. Connections and handshakes that have
    /// it keep it.
    fn set_certificate(&mut self, tenant: &str, name: &str, target: Option<CertificateTarget>) {
        let Some(settings) = &self.tls else { return };
        let key = (Box::from(tenant), Box::from(name));
        if let Some(before) = self.certificates.remove(&key) {
            self.table.certificates.remove(&before);
        }
        let served = target.and_then(|target| Served::new(tenant, name, target, settings));
        if let Some(served) = served.map(Arc::new) {
            self.table.certificates.add(&served);
            self.certificates.insert(key, served);
        }
    }

    fn set_tenant(&mut self, name: &str, limits: TenantLimits, now: Instant) {
        match self.tenants.get(name) {
            Some(tenant) => tenant.set_limits(limits),
            None => {
                let tenant = Tenant::new(name, limits, Arc::clone(&self.memory), now);
                self.tenants.insert(name.into(), Arc::new(tenant));
            }
        }
    }

    /// Whether changes since the last call may have left components that nobody routes.
    pub fn take_frees(&mut self) -> bool {
        std::mem::take(&mut self.frees)
    }

    /// Every tenant, for reports.
    pub fn tenants(&self) -> impl Iterator<Item = &Arc<Tenant>> {
        self.tenants.values()
    }

    /// One tenant by name.
    #[must_use]
    pub fn tenant(&self, name: &str) -> Option<&Arc<Tenant>> {
        self.tenants.get(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_match_whole_segments() {
        assert!(covers("/", "/anything"));
        assert!(covers("/api", "/api"));
        assert!(covers("/api", "/api/x"));
        assert!(!covers("/api", "/apix"));
        assert!(!covers("/api", "/"));
    }

    /// A route was once found only by requests that spelled its path as the route is stored.
    #[test]
    fn a_path_is_matched_however_it_is_encoded() {
        for (prefix, path, expected) in [
            ("/caf%C3%A9", "/caf%C3%A9", true),
            ("/caf%C3%A9", "/caf%c3%a9/x", true),
            ("/caf%C3%A9", "/caf%c3%a9x", false),
            ("/caf%C3%A9", "/%63af%c3%A9", true),
            ("/api", "/%61pi", true),
            ("/api", "/%61%70%69/", true),
            ("/api", "/api%2fx", false),
            ("/api", "/api%", false),
            ("/api", "/api/%", true),
            ("/api", "/%6", false),
            ("/a%2Fb", "/a%2fb", true),
            ("/a%2Fb", "/a/b", false),
            ("/%25", "/%25", true),
            ("/%2541", "/%2541", true),
            ("/A", "/%2541", false),
        ] {
            assert_eq!(covers(prefix, path), expected, "{prefix} {path}");
        }
    }

    proptest::proptest! {
        /// What one of ours means by a normal form, the configuration means as well.
        #[test]
        fn a_prefix_covers_each_of_its_spellings(path in "(/(%[0-9a-fA-F]{2}|[a-z.~])+){1,6}") {
            if let Ok(prefix) = path.parse::<edge_config::PathPrefix>() {
                proptest::prop_assert!(covers(prefix.as_str(), &path), "{} {}", prefix, path);
            }
        }
    }
}
