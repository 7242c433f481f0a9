//! The one thread that writes: what comes while the disk is busy is committed as one group.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::database::{OpenError, check_count, check_key, open_to_write, value, value_bytes};
use super::{Allowance, Done, Kept, unavailable};
use crate::link::services::{Fault, Given, StoreOp};

/// Most jobs in one commit, so that none waits for many others.
const GROUP_MAX: usize = 256;

/// What each tenant keeps.
pub(super) type Used = HashMap<Box<str>, Kept>;

/// Something to do, and who is to be told.
pub(super) enum Job {
    /// An operation on a store.
    Op {
        tenant: String,
        store: String,
        op: StoreOp,
        allowed: Allowance,
        done: Done,
    },
    /// A tenant is gone.
    Forget { tenant: String, done: Done },
}

impl Job {
    /// Tells whoever waits.
    pub(super) fn done(self, outcome: Result<Given, Fault>) {
        match self {
            Self::Op { done, .. } | Self::Forget { done, .. } => done(outcome),
        }
    }
}

pub(super) struct Writer {
    connection: Connection,
    /// As of the last commit.
    used: Arc<Mutex<Used>>,
    /// Changes when another connection commits (`PRAGMA data_version`).
    seen: i64,
}

impl Writer {
    pub(super) fn open(path: &Path, used: Arc<Mutex<Used>>) -> Result<Self, OpenError> {
        let connection = open_to_write(path)?;
        // Before the look itself: what is committed between the two is then looked at again.
        let seen = data_version(&connection)?;
        let kept = read_used(&connection)?;
        *used.lock().unwrap_or_else(PoisonError::into_inner) = kept;
        Ok(Self {
            connection,
            used,
            seen,
        })
    }

    /// Works until nobody can ask for anything any more.
    pub(super) fn run(mut self, queue: &mpsc::Receiver<Job>) {
        while let Ok(first) = queue.recv() {
            let mut group = vec![first];
            group.extend(queue.try_iter().take(GROUP_MAX - 1));
            self.commit(group);
        }
    }

    /// Carries out a group and tells each what came of it, after the commit.
    fn commit(&mut self, group: Vec<Job>) {
        let mut changed = HashMap::new();
        let outcomes = self.carry_out(&group, &mut changed);
        match outcomes {
            Ok(outcomes) => {
                let mut used = self.used();
                for (tenant, kept) in changed {
                    if kept == Kept::default() {
                        used.remove(&tenant);
                    } else {
                        used.insert(tenant, kept);
                    }
                }
                drop(used);
                for (job, outcome) in group.into_iter().zip(outcomes) {
                    job.done(outcome);
                }
            }
            Err(error) => {
                let fault = match error.sqlite_error_code() {
                    Some(rusqlite::ErrorCode::DiskFull) => {
                        Fault::Unavailable("the node's disk is full".to_owned())
                    }
                    _ => unavailable(&error),
                };
                for job in group {
                    job.done(Err(fault.clone()));
                }
            }
        }
    }

    fn carry_out(
        &mut self,
        group: &[Job],
        changed: &mut Used,
    ) -> rusqlite::Result<Vec<Result<Given, Fault>>> {
        let used = Arc::clone(&self.used);
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        // While a node is upgraded, the process before or after this one writes too. Looked at here, where nobody else can.
        let seen = data_version(&transaction)?;
        if seen != self.seen {
            *used.lock().unwrap_or_else(PoisonError::into_inner) = read_used(&transaction)?;
            self.seen = seen;
        }
        let mut outcomes = Vec::with_capacity(group.len());
        for job in group {
            outcomes.push(match job {
                Job::Op {
                    tenant,
                    store,
                    op,
                    allowed,
                    ..
                } => {
                    let before = changed.get(tenant.as_str()).copied();
                    let before = before.unwrap_or_else(|| of(&used, tenant));
                    let mut at = At {
                        transaction: &transaction,
                        tenant,
                        store,
                        allowed: *allowed,
                        kept: before,
                    };
                    let outcome = at.carry_out(op)?;
                    if outcome.is_ok() && at.kept != before {
                        changed.insert(tenant.as_str().into(), at.kept);
                    }
                    outcome
                }
                // What is committed before is the tenant's that is gone; what comes after may be another's.
                Job::Forget { tenant, .. } => {
                    transaction.execute("DELETE FROM pair WHERE tenant = ?1", [tenant])?;
                    changed.insert(tenant.as_str().into(), Kept::default());
                    Ok(Given::Done)
                }
            });
        }
        for (tenant, kept) in changed.iter() {
            if *kept == Kept::default() {
                transaction.execute("DELETE FROM used WHERE tenant = ?1", [tenant])?;
                continue;
            }
            transaction
                .prepare_cached(
                    "INSERT OR REPLACE INTO used (tenant, keys, bytes) VALUES (?1, ?2, ?3)",
                )?
                .execute(params![tenant, kept.keys, kept.bytes])?;
        }
        transaction.commit()?;
        Ok(outcomes)
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn of(used: &Mutex<Used>, tenant: &str) -> Kept {
    let used = used.lock().unwrap_or_else(PoisonError::into_inner);
    used.get(tenant).copied().unwrap_or_default()
}

fn data_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA data_version", [], |row| row.get(0))
}

fn read_used(connection: &Connection) -> rusqlite::Result<Used> {
    let mut statement = connection.prepare("SELECT tenant, keys, bytes FROM used")?;
    let rows = statement.query_map([], |row| {
        let tenant: Box<str> = row.get(0)?;
        let kept = Kept {
            keys: row.get(1)?,
            bytes: row.get(2)?,
        };
        Ok((tenant, kept))
    })?;
    rows.collect()
}

/// One operation inside a transaction.
struct At<'a> {
    transaction: &'a Transaction<'a>,
    tenant: &'a str,
    store: &'a str,
    allowed: Allowance,
    kept: Kept,
}

impl At<'_> {
    /// An operation that is refused has changed nothing.
    fn carry_out(&mut self, op: &StoreOp) -> rusqlite::Result<Result<Given, Fault>> {
        Ok(match op {
            StoreOp::Set(pairs) => {
                if let Err(fault) = self.check_pairs(pairs)? {
                    return Ok(Err(fault));
                }
                for (key, value) in pairs {
                    self.put(key, value)?;
                }
                Ok(Given::Done)
            }
            StoreOp::Delete(keys) => {
                let checked = check_count(keys.len())
                    .and_then(|()| keys.iter().try_for_each(|key| check_key(key)));
                if let Err(fault) = checked {
                    return Ok(Err(fault));
                }
                for key in keys {
                    self.remove(key)?;
                }
                Ok(Given::Done)
            }
            StoreOp::Increment { key, delta } => {
                if let Err(fault) = check_key(key) {
                    return Ok(Err(fault));
                }
                let before = match value(self.transaction, self.tenant, self.store, key)? {
                    None => 0,
                    Some(bytes) => match number(&bytes) {
                        Some(number) => number,
                        None => {
                            return Ok(Err(Fault::Refused(
                                "the value is not a decimal number of 64 bits".to_owned(),
                            )));
                        }
                    },
                };
                let Some(after) = before.checked_add(*delta) else {
                    return Ok(Err(Fault::Refused(format!(
                        "{before} and {delta} do not add up to a number of 64 bits"
                    ))));
                };
                let pair = [(key.clone(), after.to_string().into_bytes())];
                match self.carry_out(&StoreOp::Set(pair.into()))? {
                    Ok(_) => Ok(Given::Number(after)),
                    Err(fault) => Err(fault),
                }
            }
            StoreOp::Swap {
                key,
                current,
                value: wanted,
            } => {
                if let Err(fault) = check_key(key) {
                    return Ok(Err(fault));
                }
                if value(self.transaction, self.tenant, self.store, key)? != *current {
                    return Ok(Ok(Given::Flag(false)));
                }
                let pair = [(key.clone(), wanted.clone())];
                match self.carry_out(&StoreOp::Set(pair.into()))? {
                    Ok(_) => Ok(Given::Flag(true)),
                    Err(fault) => Err(fault),
                }
            }
            StoreOp::Get(_) | StoreOp::GetMany(_) | StoreOp::Exists(_) | StoreOp::Keys { .. } => {
                Err(Fault::Refused("a read is not for the writer".to_owned()))
            }
        })
    }

    /// Whether all of these may be set, counted as if they were.
    fn check_pairs(&self, pairs: &[(String, Vec<u8>)]) -> rusqlite::Result<Result<(), Fault>> {
        if let Err(fault) = check_count(pairs.len()) {
            return Ok(Err(fault));
        }
        let Allowance {
            keys_max,
            bytes_max,
            value_bytes_max,
        } = self.allowed;
        let (mut kept, mut seen) = (self.kept, HashMap::new());
        for (key, value) in pairs {
            if let Err(fault) = check_key(key) {
                return Ok(Err(fault));
            }
            let bytes = value.len() as u64;
            if bytes > value_bytes_max {
                return Ok(Err(Fault::Refused(format!(
                    "the value has {bytes} bytes; allowed: {value_bytes_max}"
                ))));
            }
            let before = match seen.insert(key.as_str(), bytes) {
                Some(before) => Some(before),
                None => value_bytes(self.transaction, self.tenant, self.store, key)?,
            };
            kept = kept.after(key, before, Some(bytes));
        }
        // Whoever is over what it may have since that was lowered can still write less.
        if kept.keys > keys_max && kept.keys > self.kept.keys {
            return Ok(Err(Fault::Refused(format!(
                "the tenant's stores would have {} keys; allowed: {keys_max}",
                kept.keys
            ))));
        }
        if kept.bytes > bytes_max && kept.bytes > self.kept.bytes {
            return Ok(Err(Fault::Refused(format!(
                "the tenant's stores would have {} bytes; allowed: {bytes_max}",
                kept.bytes
            ))));
        }
        Ok(Ok(()))
    }

    fn put(&mut self, key: &str, value: &[u8]) -> rusqlite::Result<()> {
        let before = value_bytes(self.transaction, self.tenant, self.store, key)?;
        self.transaction
            .prepare_cached(
                "INSERT INTO pair (tenant, store, key, value) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT DO UPDATE SET value = excluded.value",
            )?
            .execute(params![self.tenant, self.store, key, value])?;
        self.kept = self.kept.after(key, before, Some(value.len() as u64));
        Ok(())
    }

    fn remove(&mut self, key: &str) -> rusqlite::Result<()> {
        let before = value_bytes(self.transaction, self.tenant, self.store, key)?;
        if before.is_some() {
            self.transaction
                .prepare_cached("DELETE FROM pair WHERE tenant = ?1 AND store = ?2 AND key = ?3")?
                .execute(params![self.tenant, self.store, key])?;
            self.kept = self.kept.after(key, before, None);
        }
        Ok(())
    }
}

impl Kept {
    /// With a pair whose value had and has so many bytes.
    fn after(self, key: &str, before: Option<u64>, after: Option<u64>) -> Self {
        let pair = |value: Option<u64>| value.map_or(0, |value| value + key.len() as u64);
        Self {
            keys: (self.keys + u64::from(after.is_some()))
                .saturating_sub(u64::from(before.is_some())),
            bytes: (self.bytes + pair(after)).saturating_sub(pair(before)),
        }
    }
}

/// A decimal number of 64 bits, as [`StoreOp::Increment`] leaves one behind.
fn number(bytes: &[u8]) -> Option<i64> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}
