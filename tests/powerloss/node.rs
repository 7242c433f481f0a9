//! A whole node whose power goes at a random file operation, from its first start on: what it acknowledged is there,
//! what it did not is whole or absent, and it always starts again.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use control_api::client::ClientError;
use control_api::keypair::PrivateKey;
use control_api::view::{Precondition, TenantWrite};
use littoral_tests::powerloss::{Coins, Shim, Survival};
use littoral_tests::{Model, Tenant, TestEdge, run_within};

/// Cuts for each of the two ways in which writes survive.
const CUTS: u64 = 100;
/// A fresh node every so many cuts: the first moments of its life are its most fragile.
const CUTS_PER_LIFE: u64 = 10;
/// The power goes at one of the first so many operations: a start takes some 40, an upload some 20.
const OPERATIONS_MAX: u64 = 300;
/// Changes until the power goes in any case.
const CHANGES_MAX: usize = 12;
const PATIENCE: Duration = Duration::from_secs(600);

/// What the tests know of a node.
struct Known {
    key: Arc<PrivateKey>,
    /// The tenant was acknowledged.
    tenant: bool,
    model: Model,
    /// What was asked for last and not acknowledged leads here.
    or: Option<Model>,
}

impl Known {
    fn nothing() -> Self {
        Self {
            key: Arc::new(PrivateKey::generate().unwrap()),
            tenant: false,
            model: Model::default(),
            or: None,
        }
    }

    /// One life of a node, until its power goes or it has made its changes. The error is the node's silence.
    async fn live(&mut self, edge: &TestEdge, coins: &mut Coins) -> Result<(), ClientError> {
        let acme = self.tenant(edge).await?;
        let found = Model::found(edge.client(), &acme).await?;
        assert!(
            found == self.model || self.or.as_ref() == Some(&found),
            "acknowledged {:?}, perhaps {:?}, found {found:?}",
            self.model,
            self.or
        );
        (self.model, self.or) = (found, None);
        for _ in 0..CHANGES_MAX {
            let change = self.model.next(coins);
            let after = self.model.after(change);
            match change.make(&acme).await {
                Ok(()) => self.model = after,
                Err(error) => {
                    self.or = Some(after);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// The tenant, made where it need not be there yet.
    async fn tenant(&mut self, edge: &TestEdge) -> Result<Tenant, ClientError> {
        let name = "acme".parse().unwrap();
        let found = edge.client().tenant(&name).await;
        match found {
            Ok(_) => {}
            Err(ClientError::Problem(problem)) => {
                assert!(!self.tenant, "acknowledged and gone: {problem:?}");
                let write = TenantWrite::default();
                edge.client()
                    .put_tenant(&name, &write, Precondition::Absent)
                    .await?;
            }
            Err(error) => return Err(error),
        }
        self.tenant = true;
        Tenant::with_key(edge.client().clone(), name, Arc::clone(&self.key)).await
    }
}

fn forget_everything(data: &Path) {
    std::fs::remove_dir_all(data).unwrap();
    std::fs::create_dir(data).unwrap();
}

fn nothing_acknowledged_is_lost(survival: impl Fn(&mut Coins) -> Survival) {
    run_within(PATIENCE, async {
        let mut coins = Coins::thrown();
        let shim = Shim::build();
        let mut edge = TestEdge::start().await;
        edge.kill_control();
        let data = edge.data();
        let mut known = Known::nothing();
        let (mut before_ready, mut in_changes) = (0, 0);
        for cut in 0..CUTS {
            if cut % CUTS_PER_LIFE == 0 {
                forget_everything(&data);
                known = Known::nothing();
            }
            let watch = shim.watch(&data).unwrap();
            let mut environment: Vec<(String, OsString)> = watch
                .variables()
                .map(|(name, value)| (name.to_owned(), value.into()))
                .into();
            let kill_at = 1 + coins.below(OPERATIONS_MAX);
            environment.push(("POWERLOSS_KILL_AT".to_owned(), kill_at.to_string().into()));
            edge.set_environment(environment);
            if edge.try_start_again().await {
                match known.live(&edge, &mut coins).await {
                    Err(ClientError::Problem(problem)) => panic!("{problem:?}"),
                    Err(_) => in_changes += 1,
                    Ok(()) => {}
                }
            } else {
                assert_eq!(
                    std::os::unix::process::ExitStatusExt::signal(&edge.control().wait().await),
                    Some(9),
                    "the node does not start, at cut {cut}"
                );
                before_ready += 1;
            }
            edge.kill_control();
            watch.cut_power(survival(&mut coins)).unwrap();
        }
        println!("{CUTS} cuts: {before_ready} before the node served, {in_changes} in a change");
        edge.set_environment(Vec::new());
        edge.start_again().await;
        let last = known.live(&edge, &mut coins).await;
        last.expect("nothing cuts this life short");
        known.model.serves(&edge).await;
    });
}

#[test]
fn a_node_loses_nothing_acknowledged_with_all_that_was_not_synced() {
    nothing_acknowledged_is_lost(|_| Survival::Strict);
}

#[test]
fn a_node_loses_nothing_acknowledged_where_some_of_what_was_not_synced_survives() {
    nothing_acknowledged_is_lost(|coins| Survival::Mixed { seed: coins.bits() });
}
