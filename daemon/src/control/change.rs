//! One change: planned against the state, made durable, applied, published; in this order and one at a time.

use control_api::error::PlaneError;
use control_api::plane::Caller;
use control_api::view::{Precondition, Revised, Written};
use edge_config::TenantName;
use serde::Serialize;

use super::Control;
use super::edit::{Edit, affected, transaction};
use super::state::State;
use crate::logging;
use crate::store::{AuditRecord, StoreError};

/// What an audit entry keeps of a state before or after, in bytes of JSON; a larger one is left out, with its size. A
/// tenant with as many and as long hostnames as it may have is not, nor a module with as many versions.
const AUDITED_BYTES_MAX: usize = 96 << 10;

/// What a change would do.
pub(super) struct Plan {
    edits: Vec<Edit>,
    written: Written,
    audit: AuditRecord,
}

impl Plan {
    /// The resource already is as asked.
    pub(super) fn nothing() -> Self {
        Self {
            edits: Vec::new(),
            written: Written::Unchanged,
            audit: AuditRecord::default(),
        }
    }

    /// A change named `action` to `resource`.
    pub(super) fn new(action: &str, tenant: Option<&TenantName>, resource: String) -> Self {
        let audit = AuditRecord {
            action: action.to_owned(),
            tenant: tenant.map(ToString::to_string),
            resource,
            ..AuditRecord::default()
        };
        Self {
            edits: Vec::new(),
            written: Written::Updated,
            audit,
        }
    }

    pub(super) fn written(mut self, was_there: bool) -> Self {
        self.written = if was_there {
            Written::Updated
        } else {
            Written::Created
        };
        self
    }

    pub(super) fn edit(mut self, edit: Edit) -> Self {
        self.edits.push(edit);
        self
    }

    pub(super) fn edits(mut self, edits: impl IntoIterator<Item = Edit>) -> Self {
        self.edits.extend(edits);
        self
    }

    pub(super) fn before<T: Serialize>(mut self, before: Option<T>) -> Self {
        self.audit.before = before.map(|before| audited(&before));
        self
    }

    pub(super) fn after<T: Serialize>(mut self, after: Option<T>) -> Self {
        self.audit.after = after.map(|after| audited(&after));
        self
    }
}

fn audited<T: Serialize>(value: &T) -> Vec<u8> {
    // Views serialise; if one did not, the entry would say so and the change would go on.
    let json =
        serde_json::to_vec(value).unwrap_or_else(|error| format!("\"{error}\"").into_bytes());
    if json.len() <= AUDITED_BYTES_MAX {
        json
    } else {
        format!("{{\"left_out_bytes\":{}}}", json.len()).into_bytes()
    }
}

/// Checks a precondition against the revision of what is there.
///
/// # Errors
/// [`PlaneError::AlreadyThere`], [`PlaneError::RevisionMismatch`], [`PlaneError::RevisionOfNothing`].
pub(super) fn check(precondition: Precondition, current: Option<u64>) -> Result<(), PlaneError> {
    match (precondition, current) {
        (Precondition::None, _) | (Precondition::Absent, None) => Ok(()),
        (Precondition::Absent, Some(current)) => Err(PlaneError::AlreadyThere { current }),
        (Precondition::Revision(wanted), Some(current)) if wanted == current => Ok(()),
        (Precondition::Revision(wanted), Some(current)) => {
            Err(PlaneError::RevisionMismatch { wanted, current })
        }
        (Precondition::Revision(wanted), None) => Err(PlaneError::RevisionOfNothing { wanted }),
    }
}

/// A view with its revision.
pub(super) fn revised<T>(revision: u64, value: T) -> Revised<T> {
    Revised { revision, value }
}

impl Control {
    /// Makes a change: `plan` looks at the state as it is and says what to do.
    ///
    /// Returns when the change is durable and the worker serves it, or has no table yet.
    ///
    /// # Errors
    /// What `plan` refuses; [`PlaneError::StoreUnavailable`] where nothing can be made durable;
    /// [`PlaneError::Draining`]; [`PlaneError::HandingOver`].
    ///
    /// # Cancel safety
    /// Not cancel safe between durable and applied: callers run it in a task that nobody drops (the API server does).
    pub(super) async fn change(
        &self,
        caller: &Caller,
        plan: impl FnOnce(&State) -> Result<Plan, PlaneError>,
    ) -> Result<Written, PlaneError> {
        if self.is_draining() {
            return Err(PlaneError::Draining);
        }
        if self.hands_over() {
            return Err(PlaneError::HandingOver);
        }
        let one_at_a_time = self.changes().lock().await;
        if self.hands_over() {
            return Err(PlaneError::HandingOver);
        }
        let (mut plan, mut transaction) = {
            let state = self.read();
            let plan = plan(&state)?;
            if plan.edits.is_empty() {
                return Ok(plan.written);
            }
            let transaction = transaction(&state, &plan.edits);
            (plan, transaction)
        };
        plan.audit.at_s = self.now_s();
        plan.audit.who.clone_from(&caller.who);
        plan.audit.request_id.clone_from(&caller.request_id);
        tracing::info!(
            who = plan.audit.who,
            action = plan.audit.action,
            tenant = plan.audit.tenant,
            resource = plan.audit.resource,
            request_id = plan.audit.request_id,
            "change"
        );
        transaction.known_good_time_s = Some(self.reached_s());
        transaction.audit = Some(plan.audit);
        let revision = self
            .store()
            .commit(transaction)
            .await
            .map_err(store_error)?;
        let changes = {
            let mut state = self.write();
            let affected = affected(&state, &plan.edits);
            state.apply(revision, plan.edits);
            state.table_after(&affected, self)
        };
        let published = !changes.is_empty();
        if published {
            self.supervisor().publish(revision, changes);
        }
        drop(one_at_a_time);
        if published {
            self.supervisor()
                .applied(revision, super::APPLIED_PATIENCE)
                .await;
        }
        Ok(plan.written)
    }
}

/// What the outside is told of a store that fails; the log has the rest.
pub(super) fn store_error(error: StoreError) -> PlaneError {
    tracing::error!(
        error = logging::chain(&error),
        "a change could not be made durable"
    );
    match error {
        StoreError::Full { bytes_max, .. } => PlaneError::StateFull { bytes_max },
        StoreError::NoSpace { .. } => PlaneError::DiskFull,
        StoreError::TransactionTooLarge { bytes, writes, .. } => PlaneError::ChangeTooLarge {
            bytes: bytes as u64,
            writes: writes as u64,
        },
        StoreError::Undecided { .. } => PlaneError::OutcomeUnknown,
        _ => PlaneError::StoreUnavailable,
    }
}
