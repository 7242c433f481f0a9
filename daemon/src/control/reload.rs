//! The configuration read anew while the node runs.
//!
//! All that changed is applied, or nothing: what a running node cannot change is named, and what can fail (a file that
//! is not there, a worker that does not come up) is done before anything else is. What a worker is told at its start
//! changes by a new worker beside the old one, so that no connection is refused and no request is lost.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use control_api::error::PlaneError;
use control_api::plane::Caller;
use control_api::view::{ChangedKey, Reloaded};
use edge_config::Config;
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};

use super::capacity::{BoxMemory, Budgets, pool};
use super::node::{backoff, worker_start};
use super::upgrade::Predecessor;
use super::{Control, orders, outbound};
use crate::artifact::name::CompatHash;
use crate::engine::{BoxFigures, EngineShape};
use crate::link::WorkerStart;
use crate::logging;
use crate::store::{AuditRecord, Transaction};

/// Reads the configuration; the errors are for people.
pub type ConfigSource = Box<dyn Fn() -> Result<Config, Vec<String>> + Send + Sync>;

/// Keys that a running node can change. All others stand in what is made once, at start: sockets, keys that are believed,
/// the store, the bounds of tables.
const CHANGEABLE: [&str; 21] = [
    "http.connections_max",
    "http.client_connections_max",
    "http.header_read_timeout_ms",
    "http.header_kib_max",
    "http.header_count_max",
    "http.trusted_proxies",
    "http.drain_ms_max",
    "https.tls_min",
    "https.handshakes_max",
    "https.handshake_timeout_ms",
    "https.handshake_threads",
    "uploads.duration_ms_max",
    "uploads.statement_lifetime_s_max",
    "compile.memory_mib_max",
    "compile.cpu_ms_max",
    "compile.wall_ms_max",
    "worker.restart_backoff_ms_min",
    "worker.restart_backoff_ms_max",
    "worker.instances_max",
    "worker.guest_clock_resolution_us",
    "log.level",
];
/// Sections whose keys all are.
const CHANGEABLE_SECTIONS: [&str; 3] = ["limits.", "memory.", "outbound."];

/// What follows from a configuration, made and checked before any of it holds.
struct Prepared {
    changed: Vec<ChangedKey>,
    config: Config,
    shape: EngineShape,
    guests_bytes: u64,
    /// There where a worker must be told something else at its start.
    start: Option<WorkerStart>,
}

impl Control {
    /// Reads the configuration anew and applies what changed. One at a time.
    ///
    /// # Errors
    /// [`PlaneError::ConfigurationRefused`] with all that stands against it; [`PlaneError::Draining`]. Nothing was applied.
    pub(super) async fn reload_configuration(
        &self,
        caller: &Caller,
    ) -> Result<Reloaded, PlaneError> {
        let _one_at_a_time = self.reloads.lock().await;
        if self.is_draining() || self.hands_over() {
            return Err(PlaneError::Draining);
        }
        if let Some(notifier) = &self.notifier {
            notifier.reloading("reading the configuration anew");
        }
        let outcome = self.apply_anew(caller).await;
        match &outcome {
            Ok(reloaded) => {
                let keys: Vec<_> = reloaded
                    .changed
                    .iter()
                    .map(|key| key.key.as_str())
                    .collect();
                let (changed, worker_replaced) = (keys.join(" "), reloaded.worker_replaced);
                tracing::info!(changed, worker_replaced, "the configuration was read anew");
            }
            Err(error) => tracing::error!(%error, "the configuration stays as it was"),
        }
        if let Some(notifier) = &self.notifier {
            notifier.ready(&self.said_of_service());
        }
        outcome
    }

    /// Does what signals say, as service managers send them: SIGHUP has the configuration read anew, SIGUSR2 has a new
    /// process take over.
    ///
    /// # Cancel safety
    /// May be dropped at any time; what was begun goes on.
    pub(super) async fn change_when_told(self: Arc<Self>) {
        let (mut hang_up, mut second) = match (
            signal(SignalKind::hangup()),
            signal(SignalKind::user_defined2()),
        ) {
            (Ok(hang_up), Ok(second)) => (hang_up, second),
            (Err(error), _) | (_, Err(error)) => {
                return tracing::error!(%error, "SIGHUP and SIGUSR2 cannot be waited for");
            }
        };
        let caller = || Caller {
            who: "node".to_owned(),
            request_id: "signal".to_owned(),
        };
        loop {
            let reloads = tokio::select! {
                _ = hang_up.recv() => true,
                _ = second.recv() => false,
            };
            // Signals that come meanwhile are one.
            let me = Arc::clone(&self);
            let change = async move {
                match reloads {
                    true => me.reload_configuration(&caller()).await.map(drop),
                    false => me.hand_over(&caller()).await.map(drop),
                }
            };
            // What it says is in the log.
            let _ = self.tracker.spawn(change).await;
        }
    }

    async fn apply_anew(&self, caller: &Caller) -> Result<Reloaded, PlaneError> {
        let Some(source) = self.source.get() else {
            return Err(refused("this node was started without a configuration"));
        };
        let config = source().map_err(|why| PlaneError::ConfigurationRefused { why })?;
        let prepared = self.prepare(config)?;
        if prepared.changed.is_empty() {
            return Ok(Reloaded {
                changed: Vec::new(),
                worker_replaced: false,
            });
        }
        let worker_replaced = prepared.start.is_some();
        if let Some(start) = prepared.start {
            let replaced = self.supervisor.replace(start).await;
            replaced.map_err(|why| refused(format!("the new worker does not come up: {why}")))?;
        }
        // From here on nothing fails.
        let _no_other_change = self.changes().lock().await;
        logging::set_level(prepared.config.log.level.as_str());
        self.supervisor.set_backoff(backoff(&prepared.config));
        self.shape.store(Arc::new(prepared.shape));
        self.guest_memory_bytes_max
            .store(prepared.guests_bytes, Ordering::Relaxed);
        let limits = prepared.config.limits;
        self.config.store(Arc::new(prepared.config));
        self.note_reload(caller, &prepared.changed).await;
        let (revision, changes) = {
            let mut state = self.write();
            let stay = *state.defaults() == limits;
            let changes = (!stay).then(|| state.set_defaults(limits));
            (state.seq, changes.unwrap_or_default())
        };
        if !changes.is_empty() {
            self.supervisor.publish(revision, changes);
            self.supervisor
                .applied(revision, super::APPLIED_PATIENCE)
                .await;
        }
        Ok(Reloaded {
            changed: prepared.changed,
            worker_replaced,
        })
    }

    /// Looks at all that changed, and makes what follows from it.
    fn prepare(&self, config: Config) -> Result<Prepared, PlaneError> {
        let before = self.config();
        let changed = changed(&before, &config);
        let why: Vec<_> = changed
            .iter()
            .filter(|key| !can_change(key))
            .map(stays)
            .collect();
        if !why.is_empty() {
            return Err(PlaneError::ConfigurationRefused { why });
        }
        let authorities = outbound::authorities(&config.outbound.ca_files);
        let authorities = authorities.map_err(|error| refused(logging::chain(&error)))?;
        let budgets = Budgets::of(&config, BoxMemory::total_bytes());
        let pool = pool(&config, &budgets, &BoxFigures::of_this_box());
        let shape = pool.map_err(|error| refused(error.to_string()))?.shape;
        if shape != **self.shape.load() {
            let [now, then] = [&**self.shape.load(), &shape].map(CompatHash::for_shape);
            if !matches!((now, then), (Ok(now), Ok(then)) if now == then) {
                return Err(refused(
                    "memory of instances would lie otherwise (limits.instance_memory_mib_max, \
                     worker.instances_max, memory.guests_mib_max), for which all components must be compiled anew: \
                     restart the node",
                ));
            }
        }
        let guaranteed = self.guaranteed_mib(&config);
        let guests_mib = budgets.guests_bytes >> 20;
        if guaranteed > guests_mib && guaranteed > self.guaranteed_mib(&before) {
            return Err(refused(format!(
                "memory_guaranteed_mib of all tenants comes to {guaranteed} MiB; guests have {guests_mib} MiB"
            )));
        }
        let start = self.supervisor.start();
        let threads = usize::try_from(start.threads).unwrap_or(1);
        let per_thread = usize::try_from(start.listeners_per_thread).unwrap_or(1);
        let wanted = worker_start(
            &config,
            orders(&config),
            &shape,
            (threads, per_thread, start.tls_listeners_per_thread),
            budgets,
            authorities,
        );
        Ok(Prepared {
            changed,
            config,
            shape,
            guests_bytes: budgets.guests_bytes,
            start: (wanted != start).then_some(wanted),
        })
    }

    fn guaranteed_mib(&self, config: &Config) -> u64 {
        let state = self.read();
        let of_each = state.tenants.values().map(|tenant| {
            let (limits, _) = config.limits.with_fitting(&tenant.settings.value.overrides);
            limits.memory_guaranteed_mib
        });
        of_each.fold(0, u64::saturating_add)
    }

    /// In the audit log. What was read holds whether or not that can be kept.
    async fn note_reload(&self, caller: &Caller, changed: &[ChangedKey]) {
        let of_each = |value: fn(&ChangedKey) -> &Value| {
            let values = changed
                .iter()
                .map(|key| (key.key.clone(), value(key).clone()));
            serde_json::to_vec(&Value::Object(values.collect())).ok()
        };
        self.note(AuditRecord {
            who: caller.who.clone(),
            action: "node.reload".to_owned(),
            resource: "configuration".to_owned(),
            before: of_each(|key| &key.before),
            after: of_each(|key| &key.after),
            request_id: caller.request_id.clone(),
            ..AuditRecord::default()
        })
        .await;
    }
}

impl Control {
    /// In the audit log: this process took over.
    pub(super) async fn note_upgrade(&self, before: &Predecessor) {
        let version = |version: &str| serde_json::to_vec(&Value::String(version.to_owned())).ok();
        let _no_other_change = self.changes().lock().await;
        self.note(AuditRecord {
            who: before.who.clone(),
            action: "node.upgrade".to_owned(),
            resource: "node".to_owned(),
            before: version(&before.version),
            after: version(env!("CARGO_PKG_VERSION")),
            request_id: before.request_id.clone(),
            ..AuditRecord::default()
        })
        .await;
    }

    /// Keeps an audit entry that comes with no other change. It was done whether or not that can be kept.
    async fn note(&self, mut audit: AuditRecord) {
        audit.at_s = self.now_s();
        let transaction = Transaction {
            audit: Some(audit),
            known_good_time_s: Some(self.reached_s()),
            ..Transaction::default()
        };
        match self.store().commit(transaction).await {
            Ok(revision) => self.write().seq = revision,
            Err(error) => {
                let error = logging::chain(&error);
                tracing::error!(error, "the audit log does not have this change of the node");
            }
        }
    }
}

fn refused(why: impl Into<String>) -> PlaneError {
    PlaneError::ConfigurationRefused {
        why: vec![why.into()],
    }
}

fn can_change(changed: &ChangedKey) -> bool {
    let key = changed.key.as_str();
    CHANGEABLE.contains(&key) || CHANGEABLE_SECTIONS.iter().any(|of| key.starts_with(of))
}

fn stays(changed: &ChangedKey) -> String {
    let ChangedKey { key, before, after } = changed;
    format!(
        "{key} cannot change from {before} to {after} while the node runs: upgrade or restart it"
    )
}

/// Keys with another value, in their order.
fn changed(before: &Config, after: &Config) -> Vec<ChangedKey> {
    let mut changed = Vec::new();
    let [before, after] =
        [before, after].map(|config| serde_json::to_value(config).unwrap_or_default());
    for (section, keys) in after.as_object().into_iter().flatten() {
        for (key, after) in keys.as_object().into_iter().flatten() {
            let before = before.get(section).and_then(|keys| keys.get(key));
            if before != Some(after) {
                changed.push(ChangedKey {
                    key: format!("{section}.{key}"),
                    before: before.cloned().unwrap_or_default(),
                    after: after.clone(),
                });
            }
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Config {
        Config::parse(text, std::iter::empty::<(&str, &str)>()).unwrap()
    }

    #[test]
    fn what_changed_is_named_with_both_values_and_what_stays_is_told_apart() {
        let before = parsed("");
        assert_eq!(changed(&before, &before), []);
        let after = parsed(
            "[log]\nlevel = \"debug\"\n[limits]\nrequest_cpu_ms_max = 7\n[node]\ndata_dir = \"/elsewhere\"\n[http]\n\
             listen = [\"127.0.0.1:1\"]\nthreads = 3\nconnections_max = 5\n",
        );
        let all = changed(&before, &after);
        let level = all.iter().find(|key| key.key == "log.level").unwrap();
        assert_eq!(
            (level.before.as_str(), level.after.as_str()),
            (Some("info"), Some("debug"))
        );
        let (can, cannot): (Vec<_>, Vec<_>) = all.iter().partition(|key| can_change(key));
        let names = |keys: Vec<&ChangedKey>| {
            let mut names: Vec<_> = keys.into_iter().map(|key| key.key.clone()).collect();
            names.sort();
            names
        };
        assert_eq!(
            names(can),
            [
                "http.connections_max",
                "limits.request_cpu_ms_max",
                "log.level"
            ]
        );
        assert_eq!(
            names(cannot),
            ["http.listen", "http.threads", "node.data_dir"]
        );
    }

    #[test]
    fn every_key_that_can_change_is_one() {
        let all = serde_json::to_value(Config::default()).unwrap();
        for key in CHANGEABLE {
            let (section, key) = key.split_once('.').unwrap();
            assert!(all[section].get(key).is_some(), "{section}.{key}");
        }
        for section in CHANGEABLE_SECTIONS {
            assert!(
                all.get(section.trim_end_matches('.')).is_some(),
                "{section}"
            );
        }
    }
}
