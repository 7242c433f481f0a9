//! What the plane holds, and what every change has in common.

use std::collections::BTreeMap;

use bytes::Bytes;
use control_api::error::PlaneError;
use control_api::plane::Caller;
use control_api::view::*;
use edge_config::{
    CertificateName, KeyId, Limits, ModuleName, RouteId, StoreName, TenantName, VariableId,
};
use tokio::sync::broadcast;

use super::uploads::Pending;

pub(super) type Result<T, E = PlaneError> = std::result::Result<T, E>;

pub(super) struct State {
    /// The node's clock, in seconds since 1970.
    pub(super) now: u64,
    pub(super) revision: u64,
    pub(super) tenants: BTreeMap<TenantName, Owner>,
    pub(super) audit: Vec<AuditEntry>,
    pub(super) jobs: BTreeMap<String, Pending>,
}

pub(super) struct Owner {
    pub(super) revision: u64,
    pub(super) created_at: u64,
    pub(super) write: TenantWrite,
    pub(super) keys: BTreeMap<KeyId, Revised<PublisherKey>>,
    pub(super) certificates: BTreeMap<CertificateName, Revised<Certificate>>,
    pub(super) modules: BTreeMap<ModuleName, Revised<Module>>,
    pub(super) highest: BTreeMap<ModuleName, u64>,
    pub(super) routes: BTreeMap<RouteId, Revised<RouteWrite>>,
    pub(super) variables: BTreeMap<VariableId, Revised<Variable>>,
    /// What guests would read; of secrets, a node keeps it encrypted.
    pub(super) values: BTreeMap<VariableId, SecretText>,
    pub(super) kept: BTreeMap<StoreName, BTreeMap<String, Bytes>>,
    pub(super) databases: std::collections::BTreeSet<StoreName>,
    pub(super) lines: Vec<LogLine>,
    pub(super) live: broadcast::Sender<LogLine>,
}

impl State {
    pub(super) fn new(now: u64) -> Self {
        Self {
            now,
            revision: 0,
            tenants: BTreeMap::new(),
            audit: Vec::new(),
            jobs: BTreeMap::new(),
        }
    }

    pub(super) fn owner(&self, tenant: &TenantName) -> Result<&Owner> {
        let owner = self.tenants.get(tenant);
        owner.ok_or_else(|| PlaneError::TenantNotFound {
            tenant: tenant.clone(),
        })
    }

    pub(super) fn owner_mut(&mut self, tenant: &TenantName) -> Result<&mut Owner> {
        let owner = self.tenants.get_mut(tenant);
        owner.ok_or_else(|| PlaneError::TenantNotFound {
            tenant: tenant.clone(),
        })
    }

    /// Notes a change, and gives its revision.
    pub(super) fn record(
        &mut self,
        caller: Caller,
        action: &str,
        tenant: &TenantName,
        resource: String,
    ) -> u64 {
        self.revision += 1;
        self.audit.push(AuditEntry {
            seq: self.revision,
            at: self.now,
            who: caller.who,
            action: action.to_owned(),
            tenant: Some(tenant.clone()),
            resource,
            before: None,
            after: None,
            request_id: caller.request_id,
        });
        self.revision
    }

    pub(super) fn audit(&self, request: &PageRequest) -> Result<Page<AuditEntry>> {
        let before: u64 = match &request.after {
            None => u64::MAX,
            Some(seq) => seq.parse().map_err(|_| PlaneError::InvalidValue {
                field: "after".to_owned(),
                why: "it is no sequence number".to_owned(),
            })?,
        };
        let mut rest = self
            .audit
            .iter()
            .rev()
            .filter(|entry| entry.seq < before)
            .peekable();
        let items: Vec<_> = rest.by_ref().take(request.limit).cloned().collect();
        let last = items.last().map(|entry| entry.seq.to_string());
        Ok(Page {
            next_after: rest.peek().and(last),
            items,
        })
    }

    pub(super) fn status(&self) -> NodeStatus {
        let count = |of: fn(&Owner) -> usize| self.tenants.values().map(of).sum::<usize>() as u64;
        NodeStatus {
            node: crate::support::NODE.to_owned(),
            version: "0.0.0".to_owned(),
            pid: 1,
            wasmtime: "none".to_owned(),
            state: NodeState::Serving,
            uptime_s: 1,
            http: vec!["127.0.0.1:8080".to_owned()],
            https: Vec::new(),
            tenants: self.tenants.len() as u64,
            modules: count(|owner| owner.modules.len()),
            routes: count(|owner| owner.routes.len()),
            artifacts: 0,
            compile_queue: 0,
            worker: WorkerStatus {
                ready: true,
                pid: 1,
                restarts: 0,
                table_revision: self.revision,
                instances: 0,
                resident_modules: 0,
                confinement: Confinement {
                    filter: "enforced".to_owned(),
                    landlock_abi: 7,
                    user_id: 65_530,
                    without_capabilities: true,
                },
            },
            revision: self.revision,
        }
    }
}

impl Owner {
    pub(super) fn limits(&self) -> Result<Limits> {
        limits(&self.write)
    }
}

pub(super) fn limits(write: &TenantWrite) -> Result<Limits> {
    let limits = Limits::default().with(&write.limits);
    limits.map_err(|error| PlaneError::InvalidValue {
        field: format!("limits.{}", error.key()),
        why: error.to_string(),
    })
}

/// Whether one more fits under a count.
pub(super) fn room(limit: &'static str, most: u64, have: usize) -> Result<()> {
    if (have as u64) < most {
        Ok(())
    } else {
        Err(PlaneError::LimitReached { limit, most })
    }
}

/// Whether a precondition holds for what is there.
pub(super) fn holds(precondition: Precondition, current: Option<u64>) -> Result<()> {
    match (precondition, current) {
        (Precondition::None, _) | (Precondition::Absent, None) => Ok(()),
        (Precondition::Absent, Some(current)) => Err(PlaneError::AlreadyThere { current }),
        (Precondition::Revision(wanted), None) => Err(PlaneError::RevisionOfNothing { wanted }),
        (Precondition::Revision(wanted), Some(current)) if wanted != current => {
            Err(PlaneError::RevisionMismatch { wanted, current })
        }
        (Precondition::Revision(_), Some(_)) => Ok(()),
    }
}

/// One page of what comes in order of its key.
pub(super) fn page<K: ToString, T>(
    items: impl Iterator<Item = (K, T)>,
    request: &PageRequest,
) -> Page<T> {
    let mut rest = items
        .map(|(key, item)| (key.to_string(), item))
        .filter(|(key, _)| request.after.as_ref().is_none_or(|after| key > after))
        .peekable();
    let taken: Vec<_> = rest.by_ref().take(request.limit).collect();
    let last = taken.last().map(|(key, _)| key.clone());
    Page {
        next_after: rest.peek().and(last),
        items: taken.into_iter().map(|(_, item)| item).collect(),
    }
}
