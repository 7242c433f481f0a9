//! Tenants' SQL databases: guests' connections to them, and what is asked of them from outside.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use control_api::error::PlaneError;
use control_api::plane::Caller;
use control_api::view::{Database, Page, PageRequest, SqlBlob, SqlQuery, SqlResult};
use edge_config::{ModuleName, StoreName, TenantName};

use super::plane::tenant_in;
use super::{Control, blocking, internal};
use crate::link::services::Given;
use crate::link::sql::{SqlFault, SqlOp, SqlRows, SqlValue};
use crate::storage::sql::{Bounds, Found, ProcessBounds, SqlConnection};

/// Most connections of all guests of a worker, those that wait to be opened included.
const SESSIONS_MAX: usize = 4096;

/// How long a backup may hold a database, in milliseconds: what guests write meanwhile stays in the database's log.
const HELD_MS_MAX: u64 = 600_000;
/// A transaction begins to see with what it reads first.
const READS_ONCE: &str = "SELECT count(*) FROM sqlite_schema";

/// The connections of one worker's guests, by the worker's numbers. Those that are left close with it.
#[derive(Default)]
pub(super) struct Sessions(Arc<Mutex<HashMap<u64, Session>>>);

enum Session {
    /// Until it is open, or its guest is gone.
    Opening,
    Open(Arc<SqlConnection>),
}

impl Sessions {
    /// Has a call of a guest's carried out; `tell` is called with what came of it, and not for the end of a connection.
    pub(super) fn call(
        &self,
        control: &Arc<Control>,
        tenant: &str,
        module: &str,
        (number, op): (u64, SqlOp),
        tell: impl FnOnce(Given) + Send + 'static,
    ) {
        match op {
            SqlOp::Open { database } => {
                let allowed = control.may_connect(tenant, module, &database);
                let allowed = allowed.and_then(|bounds| self.add(number).map(|()| bounds));
                let (process_bounds, bounds) = match allowed {
                    Ok(bounds) => bounds,
                    Err(fault) => return tell(Given::Unexecuted(fault)),
                };
                let (control, tenant) = (Arc::clone(control), tenant.to_owned());
                let sessions = Self(Arc::clone(&self.0));
                tokio::spawn(async move {
                    let databases = &control.databases;
                    let connecting = databases.connect(&tenant, &database, process_bounds, bounds);
                    tell(match connecting.await {
                        Ok(connection) => sessions.opened(number, connection),
                        Err(fault) => {
                            sessions.all().remove(&number);
                            Given::Unexecuted(fault)
                        }
                    });
                });
            }
            SqlOp::Execute {
                statement,
                parameters,
            } => {
                let connection = match self.all().get(&number) {
                    Some(Session::Open(connection)) => Arc::clone(connection),
                    Some(Session::Opening) | None => {
                        return tell(Given::Unexecuted(SqlFault::InvalidConnection));
                    }
                };
                tokio::spawn(async move {
                    let executed = connection.execute(statement, parameters).await;
                    tell(executed.map_or_else(Given::Unexecuted, Given::Rows));
                });
            }
            // At once, whatever the connection is busy with.
            SqlOp::Close => {
                if let Some(Session::Open(connection)) = self.all().remove(&number) {
                    connection.close();
                }
            }
        }
    }

    fn add(&self, number: u64) -> Result<(), SqlFault> {
        let mut all = self.all();
        if all.len() >= SESSIONS_MAX {
            return Err(SqlFault::Io(format!(
                "guests of this node have {SESSIONS_MAX} connections to databases; allowed: as many"
            )));
        }
        all.insert(number, Session::Opening);
        Ok(())
    }

    /// A guest that went meanwhile has taken its entry away: then the connection closes here.
    fn opened(&self, number: u64, connection: SqlConnection) -> Given {
        match self.all().get_mut(&number) {
            Some(session) => {
                *session = Session::Open(Arc::new(connection));
                Given::Done
            }
            None => Given::Unexecuted(SqlFault::InvalidConnection),
        }
    }

    fn all(&self) -> MutexGuard<'_, HashMap<u64, Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Control {
    /// What a connection of a module's guest may use, where the module was granted the database. The worker has looked too;
    /// this is control's own word.
    fn may_connect(
        &self,
        tenant: &str,
        module: &str,
        database: &str,
    ) -> Result<(ProcessBounds, Bounds), SqlFault> {
        let names = (
            tenant.parse::<TenantName>(),
            module.parse::<ModuleName>(),
            database.parse::<StoreName>(),
        );
        let (Ok(tenant), Ok(module), Ok(database)) = names else {
            return Err(SqlFault::NoSuchDatabase);
        };
        let state = self.read();
        let found = state.tenants.get(&tenant).ok_or(SqlFault::NoSuchDatabase)?;
        let module = found.modules.get(&module).ok_or(SqlFault::NoSuchDatabase)?;
        let grants = module.value.grants.as_deref();
        if grants.is_some_and(|grants| grants.databases.contains(&database)) {
            Ok(bounds(&found.limits))
        } else {
            Err(SqlFault::AccessDenied)
        }
    }

    /// What a tenant has on the disk; nothing where that cannot be read, which the log has.
    pub(super) async fn databases_of(&self, tenant: &TenantName) -> Result<Vec<Found>, PlaneError> {
        let (me, name) = (self.me(), tenant.clone());
        let listed = blocking(move || me.map(|me| me.databases.list(name.as_str()))).await?;
        match listed {
            None => Ok(Vec::new()),
            Some(listed) => listed.map_err(|error| internal(&error)),
        }
    }

    /// A page of a tenant's databases.
    ///
    /// # Errors
    /// [`PlaneError::TenantNotFound`], and where the disk fails.
    pub(super) async fn database_page(
        &self,
        tenant: &TenantName,
        page: PageRequest,
    ) -> Result<Page<Database>, PlaneError> {
        tenant_in(&self.read(), tenant)?;
        let PageRequest { after, limit } = page;
        let mut found = self.databases_of(tenant).await?;
        found.retain(|database| after.as_ref().is_none_or(|after| database.name > *after));
        let more = found.len() > limit;
        found.truncate(limit);
        let last = found.last().map(|database| database.name.clone());
        Ok(Page {
            next_after: last.filter(|_| more),
            items: found
                .into_iter()
                .map(|Found { name, bytes }| Database { name, bytes })
                .collect(),
        })
    }

    /// Removes a database; connections of the tenant's guests end.
    ///
    /// # Errors
    /// [`PlaneError::TenantNotFound`], [`PlaneError::DatabaseNotFound`], and where the disk fails.
    pub(super) async fn remove_database(
        &self,
        tenant: &TenantName,
        database: &StoreName,
        caller: &Caller,
    ) -> Result<(), PlaneError> {
        self.say("database.delete", tenant, database, caller)?;
        let removing = self.databases.remove(tenant.as_str(), database.as_str());
        if removing.await.map_err(|error| internal(&error))? {
            Ok(())
        } else {
            Err(not_found(tenant, database))
        }
    }

    /// Carries out one statement on a database that is there, within what a guest may use.
    ///
    /// # Errors
    /// [`PlaneError::TenantNotFound`], [`PlaneError::DatabaseNotFound`], and [`PlaneError::InvalidValue`] for what a guest
    /// could not do either.
    pub(super) async fn query(
        &self,
        tenant: &TenantName,
        database: &StoreName,
        query: SqlQuery,
        caller: &Caller,
    ) -> Result<SqlResult, PlaneError> {
        self.say("database.query", tenant, database, caller)?;
        let there = self.databases_of(tenant).await?;
        if !there.iter().any(|there| there.name == database.as_str()) {
            return Err(not_found(tenant, database));
        }
        let (process_bounds, bounds) = bounds(&tenant_in(&self.read(), tenant)?.limits);
        let parameters = query.parameters.iter().map(of_view);
        let parameters = parameters.collect::<Result<_, _>>()?;
        let databases = &self.databases;
        let executed = async {
            let connecting =
                databases.connect(tenant.as_str(), database.as_str(), process_bounds, bounds);
            let connection = connecting.await?;
            connection.execute(query.statement, parameters).await
        };
        match executed.await {
            Ok(SqlRows {
                columns,
                rows,
                last_insert_rowid,
                changes,
            }) => Ok(SqlResult {
                columns,
                rows: rows
                    .into_iter()
                    .map(|row| row.into_iter().map(view).collect())
                    .collect(),
                last_insert_rowid,
                changes,
            }),
            Err(fault) => Err(PlaneError::InvalidValue {
                field: "statement".to_owned(),
                why: fault.to_string(),
            }),
        }
    }

    /// A connection that has a database open for reading as it is now: what is in its file and its log together stays a whole
    /// for as long as it is held, at most [`HELD_MS_MAX`].
    pub(super) async fn hold_database(
        &self,
        tenant: &TenantName,
        database: &str,
    ) -> Result<SqlConnection, SqlFault> {
        let limits = match tenant_in(&self.read(), tenant) {
            Ok(there) => Arc::clone(&there.limits),
            Err(error) => return Err(SqlFault::Io(error.to_string())),
        };
        let (process_bounds, bounds) = bounds(&limits);
        let bounds = Bounds {
            transaction_ms_max: HELD_MS_MAX,
            ..bounds
        };
        let connecting = self
            .databases
            .connect(tenant.as_str(), database, process_bounds, bounds);
        let connection = connecting.await?;
        for statement in ["BEGIN", READS_ONCE] {
            connection.execute(statement.to_owned(), Vec::new()).await?;
        }
        Ok(connection)
    }

    /// What an operator does with a tenant's databases is at least in the node's log; whether it may be done.
    fn say(
        &self,
        action: &str,
        tenant: &TenantName,
        database: &StoreName,
        caller: &Caller,
    ) -> Result<(), PlaneError> {
        if self.is_draining() {
            return Err(PlaneError::Draining);
        }
        tenant_in(&self.read(), tenant)?;
        tracing::info!(
            who = caller.who,
            action,
            tenant = tenant.as_str(),
            database = database.as_str(),
            request_id = caller.request_id,
            "change"
        );
        Ok(())
    }
}

fn bounds(limits: &edge_config::Limits) -> (ProcessBounds, Bounds) {
    let process_bounds = ProcessBounds {
        memory_bytes_max: limits.database_memory_kib_max << 10,
        connections_max: limits.database_connections_max,
    };
    let bounds = Bounds {
        database_bytes_max: limits.database_kib_max << 10,
        statement_ms_max: limits.database_statement_ms_max,
        transaction_ms_max: limits.database_transaction_ms_max,
        result_bytes_max: limits.database_result_kib_max << 10,
        databases_max: limits.databases_max,
    };
    (process_bounds, bounds)
}

fn not_found(tenant: &TenantName, database: &StoreName) -> PlaneError {
    PlaneError::DatabaseNotFound {
        tenant: tenant.clone(),
        database: database.clone(),
    }
}

fn view(value: SqlValue) -> control_api::view::SqlValue {
    use control_api::view::SqlValue as V;
    match value {
        SqlValue::Null => V::Null(()),
        SqlValue::Integer(number) => V::Integer(number),
        SqlValue::Real(number) => V::Real(number),
        SqlValue::Text(text) => V::Text(text),
        SqlValue::Blob(bytes) => V::Blob(SqlBlob::of(&bytes)),
    }
}

fn of_view(value: &control_api::view::SqlValue) -> Result<SqlValue, PlaneError> {
    use control_api::view::SqlValue as V;
    Ok(match value {
        V::Null(()) => SqlValue::Null,
        V::Integer(number) => SqlValue::Integer(*number),
        V::Real(number) => SqlValue::Real(*number),
        V::Text(text) => SqlValue::Text(text.clone()),
        V::Blob(blob) => SqlValue::Blob(blob.bytes()?),
    })
}
