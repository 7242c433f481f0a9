//! The whole of the control state as keys and values, and as records.
//!
//! [`Contents`] is what the database and its export must agree on, byte for byte. [`Snapshot`] is the same, read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::error::StoreError;
use super::key::Key;
use super::record::{
    CertificateRecord, FloorRecord, ModuleRecord, NodeRecord, PublisherKeyRecord, Revised,
    RouteRecord, SCHEMA_VERSION, Stored, TenantRecord, UsageRecord, VariableRecord, unseal,
};

/// One write: a key, and its new value or none.
pub(super) type Write = (Vec<u8>, Option<Vec<u8>>);

/// What one transaction writes, everything that follows from it included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Change {
    /// Its place in the order of all changes.
    pub(super) seq: u64,
    /// In order: a later write of a key replaces an earlier one.
    pub(super) writes: Vec<Write>,
}

/// Everything stored, by key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Contents(pub(super) BTreeMap<Vec<u8>, Vec<u8>>);

impl Contents {
    /// Applies one change.
    pub(super) fn apply(&mut self, change: Change) {
        for (key, value) in change.writes {
            match value {
                Some(value) => self.0.insert(key, value),
                None => self.0.remove(&key),
            };
        }
    }

    /// The writes that turn these contents into `wanted`.
    pub(super) fn writes_to(&self, wanted: &Self) -> Vec<Write> {
        let gone = self
            .0
            .keys()
            .filter(|key| !wanted.0.contains_key(*key))
            .map(|key| (key.clone(), None));
        let put = wanted
            .0
            .iter()
            .filter(|(key, value)| self.0.get(*key) != Some(value))
            .map(|(key, value)| (key.clone(), Some(value.clone())));
        gone.chain(put).collect()
    }

    /// Keys and values together, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.0
            .iter()
            .map(|(key, value)| entry_bytes(key.len(), value.len()))
            .sum()
    }

    /// The node's own record; the default one where nothing was ever committed.
    pub(super) fn node(&self) -> Result<NodeRecord, StoreError> {
        let Some(value) = self.0.get(&Key::Node.encode()) else {
            return Ok(NodeRecord::default());
        };
        let node: Revised<NodeRecord> = unseal(&Key::Node, value)?;
        if node.record.schema > SCHEMA_VERSION {
            return Err(StoreError::Schema {
                found: node.record.schema,
                newest: SCHEMA_VERSION,
            });
        }
        Ok(node.record)
    }

    /// The sequence numbers of the audit entries, oldest first, each with what it counts for.
    pub(super) fn audit_entries(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0
            .iter()
            .filter(|(key, _)| Key::is_audit(key))
            .filter_map(|(key, value)| match Key::decode(key) {
                Ok(Key::Audit { seq }) => Some((seq, entry_bytes(key.len(), value.len()))),
                _ => None,
            })
    }
}

/// What one entry counts for.
pub(super) fn entry_bytes(key_bytes: usize, value_bytes: usize) -> u64 {
    key_bytes as u64 + value_bytes as u64
}

/// Everything the control room keeps in memory: the state as of `seq`. Audit entries are read page by page instead.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The last committed sequence number, 0 for a new store.
    pub seq: u64,
    /// The highest time a commit vouched for, in seconds since 1970-01-01 UTC.
    pub known_good_time_s: u64,
    /// In order of name.
    pub tenants: Vec<Revised<TenantRecord>>,
    /// In order of tenant and id.
    pub publisher_keys: Vec<Revised<PublisherKeyRecord>>,
    /// In order of tenant and name.
    pub modules: Vec<Revised<ModuleRecord>>,
    /// In order of tenant and name.
    pub certificates: Vec<Revised<CertificateRecord>>,
    /// In order of tenant and name.
    pub floors: Vec<Revised<FloorRecord>>,
    /// In order of host and path.
    pub routes: Vec<Revised<RouteRecord>>,
    /// In order of tenant and id.
    pub variables: Vec<Revised<VariableRecord>>,
    /// In order of tenant.
    pub usage: Vec<Revised<UsageRecord>>,
}

impl Snapshot {
    /// Reads every record.
    pub(super) fn read(contents: &Contents) -> Result<Self, StoreError> {
        let node = contents.node()?;
        let mut snapshot = Self {
            seq: node.seq,
            known_good_time_s: node.known_good_time_s,
            ..Self::default()
        };
        for (bytes, value) in &contents.0 {
            let key = Key::decode(bytes)?;
            match key {
                Key::Audit { .. } | Key::Node => {}
                Key::Certificate { .. } => push(&mut snapshot.certificates, &key, value)?,
                Key::Floor { .. } => push(&mut snapshot.floors, &key, value)?,
                Key::PublisherKey { .. } => push(&mut snapshot.publisher_keys, &key, value)?,
                Key::Module { .. } => push(&mut snapshot.modules, &key, value)?,
                Key::Route { .. } => push(&mut snapshot.routes, &key, value)?,
                Key::Tenant { .. } => push(&mut snapshot.tenants, &key, value)?,
                Key::Usage { .. } => push(&mut snapshot.usage, &key, value)?,
                Key::Variable { .. } => push(&mut snapshot.variables, &key, value)?,
            }
        }
        Ok(snapshot)
    }
}

fn push<T: Stored>(
    records: &mut Vec<Revised<T>>,
    key: &Key,
    value: &[u8],
) -> Result<(), StoreError> {
    records.push(unseal(key, value)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::record::{NodeRecord, seal};

    fn any_contents() -> impl Strategy<Value = Contents> {
        proptest::collection::btree_map(
            proptest::collection::vec(0_u8..4, 0..3),
            proptest::collection::vec(any::<u8>(), 0..3),
            0..12,
        )
        .prop_map(Contents)
    }

    proptest! {
        #[test]
        fn the_writes_between_two_contents_lead_from_one_to_the_other(from in any_contents(), to in any_contents()) {
            let writes = from.writes_to(&to);
            prop_assert_eq!(writes.is_empty(), from == to);
            let mut walked = from;
            walked.apply(Change { seq: 1, writes });
            prop_assert_eq!(walked, to);
        }
    }

    #[test]
    fn a_newer_schema_is_refused_by_number() {
        let node = NodeRecord {
            schema: 2,
            seq: 5,
            known_good_time_s: 0,
        };
        let contents = Contents(BTreeMap::from([(Key::Node.encode(), seal(&node).unwrap())]));
        let error = Snapshot::read(&contents).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the store was written with schema 2; this build reads up to schema 1"
        );
    }
}
