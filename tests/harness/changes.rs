//! Random uploads and route changes of one tenant, and what a node must have after them.

use std::collections::BTreeMap;

use control_api::client::{Client, ClientError};
use control_api::view::PageRequest;

use crate::edge::TestEdge;
use crate::powerloss::Coins;
use crate::tenant::{Tenant, component, digest};

const MODULES: u64 = 3;
const ROUTES: u64 = 6;

/// Guests that can be told apart by their answers: versions of every module take turns.
const VARIANTS: [(&str, &str); 3] = [
    ("hello", "Hello from the edge!\n"),
    ("remembers", "1\n"),
    ("hello-p3", "Hello from the edge!\n"),
];

/// A tenant's modules and routes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Model {
    /// Highest version by module.
    modules: BTreeMap<u64, u64>,
    /// Module and pinned version by route.
    routes: BTreeMap<u64, (u64, Option<u64>)>,
}

/// One change to them.
#[derive(Debug, Clone, Copy)]
pub enum Change {
    /// A module's next version.
    Upload {
        /// Which.
        module: u64,
        /// Its number.
        version: u64,
    },
    /// A route set.
    Route {
        /// Which.
        route: u64,
        /// Where it leads.
        module: u64,
        /// The version it stays at.
        pinned: Option<u64>,
    },
    /// A route removed.
    Unroute {
        /// Which.
        route: u64,
    },
}

impl Model {
    /// A change that is possible now.
    pub fn next(&self, coins: &mut Coins) -> Change {
        let module = coins.below(MODULES);
        let highest = self.modules.get(&module).copied();
        let upload = Change::Upload {
            module,
            version: highest.unwrap_or(0) + 1,
        };
        match (coins.below(5), highest) {
            (0..=2, _) | (_, None) => upload,
            (3, Some(highest)) => Change::Route {
                route: coins.below(ROUTES),
                module,
                pinned: (coins.below(2) == 0).then_some(highest),
            },
            _ => {
                let route = self.routes.keys().nth(coins.below(ROUTES) as usize);
                route.map_or(upload, |route| Change::Unroute { route: *route })
            }
        }
    }

    /// What there is once the change is made.
    #[must_use]
    pub fn after(&self, change: Change) -> Self {
        let mut after = self.clone();
        match change {
            Change::Upload { module, version } => {
                after.modules.insert(module, version);
            }
            Change::Route {
                route,
                module,
                pinned,
            } => {
                after.routes.insert(route, (module, pinned));
            }
            Change::Unroute { route } => {
                after.routes.remove(&route);
            }
        }
        after
    }

    /// What the node says the tenant has. Each part must be whole by the node's own account.
    ///
    /// # Errors
    /// Where the node does not answer.
    pub async fn found(client: &Client, tenant: &Tenant) -> Result<Self, ClientError> {
        let page = PageRequest {
            after: None,
            limit: 1000,
        };
        let mut model = Self::default();
        for module in client.modules(tenant.name(), &page).await?.items {
            let number = module.name.as_str()[1..].parse().unwrap();
            assert_eq!(module.active_version, module.highest_version);
            for kept in &module.versions {
                let bytes = component(variant(number, kept.version).0);
                assert_eq!(
                    (kept.digest, kept.component_bytes),
                    (digest(&bytes), bytes.len() as u64)
                );
            }
            model.modules.insert(number, module.highest_version);
        }
        for route in client.routes(tenant.name(), &page).await?.items {
            let number = route.host.as_str()[1..2].parse().unwrap();
            let module = route.module.as_str()[1..].parse().unwrap();
            model.routes.insert(number, (module, route.version));
        }
        Ok(model)
    }

    /// Asks every route: each must answer as its version does.
    pub async fn serves(&self, edge: &TestEdge) {
        for (route, (module, pinned)) in &self.routes {
            let version = pinned.unwrap_or(self.modules[module]);
            let answer = edge.get(&place(*route)).await;
            assert_eq!(
                answer.text(),
                variant(*module, version).1,
                "{route}: {module} version {version}"
            );
        }
    }
}

impl Change {
    /// Asks the node for it.
    ///
    /// # Errors
    /// The node's refusal, or its silence.
    pub async fn make(self, tenant: &Tenant) -> Result<(), ClientError> {
        let name = |module| format!("m{module}");
        match self {
            Change::Upload { module, version } => {
                let bytes = component(variant(module, version).0);
                tenant.upload(&name(module), version, bytes).await.map(drop)
            }
            Change::Route {
                route,
                module,
                pinned,
            } => tenant
                .route(&place(route), &name(module), pinned)
                .await
                .map(drop),
            Change::Unroute { route } => tenant.unroute(&place(route)).await,
        }
    }
}

fn variant(module: u64, version: u64) -> (&'static str, &'static str) {
    VARIANTS[((module + version) % VARIANTS.len() as u64) as usize]
}

fn place(route: u64) -> String {
    format!("r{route}.acme.test/")
}
