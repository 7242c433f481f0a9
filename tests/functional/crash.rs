//! kill -9 of control at random moments of uploads and route changes: nothing acknowledged is missing, nothing is half
//! there.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use control_api::client::ClientError;
use littoral_tests::{Tenant, TestEdge, beside, component, digest, end, run};
use rustix::process::Signal;

/// Acknowledged changes in all.
const CHANGES: usize = 200;
/// Lives of the node at least.
const KILLS_MIN: usize = 12;
const MODULES: u64 = 3;
const ROUTES: u64 = 6;
/// The longest life, from the first change to the kill.
const LIFE_MS_MAX: u64 = 250;

/// Guests that can be told apart by their answers: versions of every module take turns.
const VARIANTS: [(&str, &str); 3] = [
    ("hello", "Hello from the edge!\n"),
    ("remembers", "1\n"),
    ("hello-p3", "Hello from the edge!\n"),
];

/// xorshift64 (Marsaglia, 2003): moments that differ from run to run, from a seed that is printed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }
}

/// What was acknowledged, or may have become so.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Model {
    /// Highest version by module.
    modules: BTreeMap<u64, u64>,
    /// Module and pinned version by route.
    routes: BTreeMap<u64, (u64, Option<u64>)>,
}

#[derive(Debug, Clone, Copy)]
enum Change {
    Upload {
        module: u64,
        version: u64,
    },
    Route {
        route: u64,
        module: u64,
        pinned: Option<u64>,
    },
    Unroute {
        route: u64,
    },
}

impl Model {
    fn next(&self, chance: &mut Chance) -> Change {
        let module = chance.below(MODULES);
        let highest = self.modules.get(&module).copied();
        match (chance.below(5), highest) {
            (0..=2, _) | (_, None) => Change::Upload {
                module,
                version: highest.unwrap_or(0) + 1,
            },
            (3, Some(highest)) => {
                let pinned = (chance.below(2) == 0).then_some(highest);
                Change::Route {
                    route: chance.below(ROUTES),
                    module,
                    pinned,
                }
            }
            _ => match self.routes.keys().nth(chance.below(ROUTES) as usize) {
                Some(route) => Change::Unroute { route: *route },
                None => Change::Upload {
                    module,
                    version: highest.unwrap_or(0) + 1,
                },
            },
        }
    }

    fn after(&self, change: Change) -> Self {
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
}

fn variant(module: u64, version: u64) -> (&'static str, &'static str) {
    VARIANTS[((module + version) % VARIANTS.len() as u64) as usize]
}

fn place(route: u64) -> String {
    format!("r{route}.acme.test/")
}

async fn make(acme: &Tenant, change: Change) -> Result<(), ClientError> {
    match change {
        Change::Upload { module, version } => {
            let bytes = component(variant(module, version).0);
            acme.upload(&format!("m{module}"), version, bytes)
                .await
                .map(drop)
        }
        Change::Route {
            route,
            module,
            pinned,
        } => acme
            .route(&place(route), &format!("m{module}"), pinned)
            .await
            .map(drop),
        Change::Unroute { route } => acme.unroute(&place(route)).await,
    }
}

/// What the node says it has, each part whole by its own account.
async fn found(edge: &TestEdge, acme: &Tenant) -> Model {
    let page = control_api::view::PageRequest {
        after: None,
        limit: 1000,
    };
    let mut model = Model::default();
    for module in edge
        .client()
        .modules(acme.name(), &page)
        .await
        .unwrap()
        .items
    {
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
    for route in edge
        .client()
        .routes(acme.name(), &page)
        .await
        .unwrap()
        .items
    {
        let number = route.host.as_str()[1..2].parse().unwrap();
        model.routes.insert(
            number,
            (route.module.as_str()[1..].parse().unwrap(), route.version),
        );
    }
    model
}

#[test]
fn nothing_acknowledged_is_lost_by_kill_9_of_control_and_nothing_is_half_there() {
    run(async {
        let since = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap();
        let mut chance = Chance(since.as_nanos() as u64 | 1);
        println!("seed {}", chance.0);
        let began = Instant::now();
        let mut edge = TestEdge::start().await;
        let acme = edge.tenant("acme").await;
        let (mut model, mut made, mut kills) = (Model::default(), 0, 0);
        while made < CHANGES || kills < KILLS_MIN {
            let acme = acme.through(edge.client());
            let (pid, life_ms) = (edge.control().pid(), chance.below(LIFE_MS_MAX));
            let killer = beside(async move {
                tokio::time::sleep(Duration::from_millis(life_ms)).await;
                end(pid, Signal::KILL);
            });
            let cut_off = loop {
                let change = model.next(&mut chance);
                match make(&acme, change).await {
                    Ok(()) => {
                        model = model.after(change);
                        made += 1;
                    }
                    Err(ClientError::Problem(problem)) => panic!("{change:?}: {problem:?}"),
                    Err(_) => break change,
                }
            };
            killer.await.unwrap();
            edge.control().wait().await;
            edge.start_again().await;
            kills += 1;
            let acme = acme.through(edge.client());
            let found = found(&edge, &acme).await;
            let with = model.after(cut_off);
            assert!(
                found == model || found == with,
                "{cut_off:?}:\n{model:?}\n{found:?}"
            );
            model = found;
            for (route, (module, pinned)) in &model.routes {
                let version = pinned.unwrap_or(model.modules[module]);
                let answer = edge.get(&place(*route)).await;
                assert_eq!(
                    answer.text(),
                    variant(*module, version).1,
                    "{route}: {module} version {version}"
                );
            }
        }
        println!(
            "{made} changes, {kills} kills, {} s",
            began.elapsed().as_secs()
        );
        let recompiled = "littoral_artifact_states_total{state=\"recompiled\"}";
        assert_eq!(edge.metric(recompiled).await, 0.0);
    });
}
