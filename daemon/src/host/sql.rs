//! `fermyon:spin/sqlite@2.0.0`, `spin:sqlite/sqlite@3.0.0` and `@3.1.0`: the tenant's SQL databases.
//!
//! A connection that is opened is a number; control has the connection itself, in a process of the tenant's. It closes
//! with the guest's handle, and with the guest, whatever way that ends: a transaction that is open then is rolled back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use tokio::sync::Mutex;
use wasmtime::component::{
    Accessor, FutureReader, Linker, Resource, ResourceTableError, StreamReader,
};

use super::capabilities::Capabilities;
use super::key_value::{Guest, v2};
use super::services::Services;
use super::state::GuestState;
use crate::link::services::{Fault, Given};
use crate::link::sql::{SqlFault, SqlOp, SqlRows, SqlValue};
use crate::quota::Tenant;

/// Most connections that one guest has open at a time.
const OPEN_MAX: usize = 64;

/// A connection that a guest has open. Closes when it is dropped.
pub(super) struct Connection {
    services: Arc<Services>,
    tenant: Arc<Tenant>,
    module: Arc<str>,
    number: u64,
    /// One statement after another; guests of 0.3 can ask for several at once.
    turn: Mutex<()>,
    last_insert_rowid: AtomicI64,
    changes: AtomicU64,
    /// Control was asked to open it.
    asked: AtomicBool,
}

impl Connection {
    /// One that is yet to be opened.
    pub(super) fn new(services: Arc<Services>, tenant: &Arc<Tenant>, module: Arc<str>) -> Self {
        Self {
            number: services.connection_number(),
            services,
            tenant: Arc::clone(tenant),
            module,
            turn: Mutex::default(),
            last_insert_rowid: AtomicI64::new(0),
            changes: AtomicU64::new(0),
            asked: AtomicBool::new(false),
        }
    }

    /// Has control carry something out.
    ///
    /// # Errors
    /// [`SqlFault`]
    ///
    /// # Cancel safety
    /// Dropped, it may be carried out or not.
    pub(super) async fn call(&self, op: SqlOp) -> Result<SqlRows, SqlFault> {
        let _turn = self.turn.lock().await;
        self.asked.store(true, Ordering::Relaxed);
        let called = self
            .services
            .sql(self.tenant.name(), &self.module, (self.number, op));
        match called.await {
            Ok(Given::Done) => Ok(SqlRows::default()),
            Ok(Given::Rows(rows)) => {
                let last = rows.last_insert_rowid;
                self.last_insert_rowid.store(last, Ordering::Relaxed);
                self.changes.store(rows.changes, Ordering::Relaxed);
                Ok(rows)
            }
            Ok(Given::Unexecuted(fault)) => Err(fault),
            Ok(_) => Err(SqlFault::Io(
                "the node gave something else than rows".to_owned(),
            )),
            Err(Fault::NoSuch(_)) => Err(SqlFault::NoSuchDatabase),
            Err(Fault::Denied(_)) => Err(SqlFault::AccessDenied),
            Err(Fault::Refused(why) | Fault::Unavailable(why)) => Err(SqlFault::Io(why)),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if *self.asked.get_mut() {
            let (tenant, module) = (self.tenant.name(), &self.module);
            self.services.close_sql(tenant, module, self.number);
        }
    }
}

/// What the guest's handle is of.
#[expect(
    unreachable_pub,
    reason = "the bindings, in modules of their own, hand it on"
)]
pub struct OpenConnection(Arc<Connection>);

mod v3 {
    wasmtime::component::bindgen!({
        path: "wit/spin-sqlite-3.1.0",
        world: "spin:sqlite/host",
        imports: { default: async | trappable },
        with: { "spin:sqlite/sqlite.connection": super::OpenConnection },
    });
}

use v2::fermyon::spin::sqlite as of2;
use v3::spin::sqlite::sqlite as of3;

/// Adds both; a guest of 3.0.0 finds 3.1.0, which has all that it had.
pub(super) fn add_to_linker(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    of2::add_to_linker::<_, Guest>(linker, |state| state)?;
    of3::add_to_linker::<_, Guest>(linker, |state| state)
}

/// Takes a place among a guest's connections.
fn enter(state: &mut GuestState) -> Result<Arc<Capabilities>, SqlFault> {
    if state.open_sql >= OPEN_MAX {
        return Err(SqlFault::Io(format!(
            "the guest has {OPEN_MAX} connections open; allowed: as many"
        )));
    }
    state.open_sql += 1;
    Ok(Arc::clone(&state.capabilities))
}

/// Makes a connection into a handle, or gives its place back.
fn opened(
    state: &mut GuestState,
    connection: Result<Connection, SqlFault>,
) -> Result<Resource<OpenConnection>, SqlFault> {
    let pushed = connection.and_then(|connection| {
        let pushed = state.table().push(OpenConnection(Arc::new(connection)));
        pushed.map_err(|_| SqlFault::Io("the guest has too many handles".to_owned()))
    });
    if pushed.is_err() {
        state.open_sql = state.open_sql.saturating_sub(1);
    }
    pushed
}

async fn open(
    state: &mut GuestState,
    database: String,
) -> Result<Resource<OpenConnection>, SqlFault> {
    let capabilities = enter(state)?;
    let connection = capabilities.open_database(database).await;
    opened(state, connection)
}

fn found(
    state: &mut GuestState,
    connection: &Resource<OpenConnection>,
) -> Result<Arc<Connection>, ResourceTableError> {
    Ok(Arc::clone(&state.table().get(connection)?.0))
}

async fn execute(
    capabilities: &Capabilities,
    connection: &Connection,
    statement: String,
    parameters: Vec<SqlValue>,
) -> Result<SqlRows, SqlFault> {
    capabilities.may_execute()?;
    let op = SqlOp::Execute {
        statement,
        parameters,
    };
    connection.call(op).await
}

fn close(state: &mut GuestState, connection: Resource<OpenConnection>) -> wasmtime::Result<()> {
    state.table().delete(connection)?;
    state.open_sql = state.open_sql.saturating_sub(1);
    Ok(())
}

macro_rules! conversions {
    ($of:ident) => {
        impl From<SqlFault> for $of::Error {
            fn from(fault: SqlFault) -> Self {
                match fault {
                    SqlFault::NoSuchDatabase => Self::NoSuchDatabase,
                    SqlFault::AccessDenied => Self::AccessDenied,
                    SqlFault::InvalidConnection => Self::InvalidConnection,
                    SqlFault::Full => Self::DatabaseFull,
                    SqlFault::Io(why) => Self::Io(why),
                }
            }
        }

        impl From<$of::Value> for SqlValue {
            fn from(value: $of::Value) -> Self {
                match value {
                    $of::Value::Integer(number) => Self::Integer(number),
                    $of::Value::Real(number) => Self::Real(number),
                    $of::Value::Text(text) => Self::Text(text),
                    $of::Value::Blob(bytes) => Self::Blob(bytes),
                    $of::Value::Null => Self::Null,
                }
            }
        }

        impl From<SqlValue> for $of::Value {
            fn from(value: SqlValue) -> Self {
                match value {
                    SqlValue::Integer(number) => Self::Integer(number),
                    SqlValue::Real(number) => Self::Real(number),
                    SqlValue::Text(text) => Self::Text(text),
                    SqlValue::Blob(bytes) => Self::Blob(bytes),
                    SqlValue::Null => Self::Null,
                }
            }
        }

        impl From<Vec<SqlValue>> for $of::RowResult {
            fn from(row: Vec<SqlValue>) -> Self {
                let values = row.into_iter().map(Into::into).collect();
                Self { values }
            }
        }

        impl From<SqlRows> for $of::QueryResult {
            fn from(gave: SqlRows) -> Self {
                Self {
                    columns: gave.columns,
                    rows: gave.rows.into_iter().map(Into::into).collect(),
                }
            }
        }
    };
}

conversions!(of2);
conversions!(of3);

impl of2::Host for &mut GuestState {}

impl of2::HostConnection for &mut GuestState {
    async fn open(
        &mut self,
        database: String,
    ) -> wasmtime::Result<Result<Resource<OpenConnection>, of2::Error>> {
        Ok(open(self, database).await.map_err(Into::into))
    }

    async fn execute(
        &mut self,
        connection: Resource<OpenConnection>,
        statement: String,
        parameters: Vec<of2::Value>,
    ) -> wasmtime::Result<Result<of2::QueryResult, of2::Error>> {
        let connection = found(self, &connection)?;
        let parameters = parameters.into_iter().map(Into::into).collect();
        let executing = execute(&self.capabilities, &connection, statement, parameters);
        Ok(executing.await.map(Into::into).map_err(Into::into))
    }

    async fn drop(&mut self, connection: Resource<OpenConnection>) -> wasmtime::Result<()> {
        close(self, connection)
    }
}

impl of3::Host for &mut GuestState {}

impl of3::HostConnection for &mut GuestState {
    async fn open(
        &mut self,
        database: String,
    ) -> wasmtime::Result<Result<Resource<OpenConnection>, of3::Error>> {
        Ok(open(self, database).await.map_err(Into::into))
    }

    async fn execute(
        &mut self,
        connection: Resource<OpenConnection>,
        statement: String,
        parameters: Vec<of3::Value>,
    ) -> wasmtime::Result<Result<of3::QueryResult, of3::Error>> {
        let connection = found(self, &connection)?;
        let parameters = parameters.into_iter().map(Into::into).collect();
        let executing = execute(&self.capabilities, &connection, statement, parameters);
        Ok(executing.await.map(Into::into).map_err(Into::into))
    }

    async fn last_insert_rowid(
        &mut self,
        connection: Resource<OpenConnection>,
    ) -> wasmtime::Result<i64> {
        let connection = found(self, &connection)?;
        Ok(connection.last_insert_rowid.load(Ordering::Relaxed))
    }

    async fn changes(&mut self, connection: Resource<OpenConnection>) -> wasmtime::Result<u64> {
        Ok(found(self, &connection)?.changes.load(Ordering::Relaxed))
    }

    async fn drop(&mut self, connection: Resource<OpenConnection>) -> wasmtime::Result<()> {
        close(self, connection)
    }
}

/// An open connection and whose guest has it, taken out of the state that calls at once share.
fn taken<T>(
    accessor: &Accessor<T, Guest>,
    connection: &Resource<OpenConnection>,
) -> wasmtime::Result<(Arc<Capabilities>, Arc<Connection>)> {
    accessor.with(|mut access| {
        let state: &mut GuestState = access.get();
        let connection = found(state, connection)?;
        Ok((Arc::clone(&state.capabilities), connection))
    })
}

/// Columns, rows and how it ended; the node has all of them when the first are given.
type Streamed = (
    Vec<String>,
    StreamReader<of3::RowResult>,
    FutureReader<Result<(), of3::Error>>,
);

impl<T: Send> of3::HostConnectionWithStore<T> for Guest {
    async fn open_async(
        accessor: &Accessor<T, Self>,
        database: String,
    ) -> wasmtime::Result<Result<Resource<OpenConnection>, of3::Error>> {
        let connection = match accessor.with(|mut access| enter(access.get())) {
            Ok(capabilities) => capabilities.open_database(database).await,
            Err(fault) => return Ok(Err(fault.into())),
        };
        Ok(accessor.with(|mut access| opened(access.get(), connection).map_err(Into::into)))
    }

    async fn execute_async(
        accessor: &Accessor<T, Self>,
        connection: Resource<OpenConnection>,
        statement: String,
        parameters: Vec<of3::Value>,
    ) -> wasmtime::Result<Result<Streamed, of3::Error>> {
        let (capabilities, connection) = taken(accessor, &connection)?;
        let parameters = parameters.into_iter().map(Into::into).collect();
        let executing = execute(&capabilities, &connection, statement, parameters);
        let SqlRows { columns, rows, .. } = match executing.await {
            Ok(gave) => gave,
            Err(fault) => return Ok(Err(fault.into())),
        };
        accessor.with(|mut access| {
            let rows: Vec<of3::RowResult> = rows.into_iter().map(Into::into).collect();
            let rows = StreamReader::new(&mut access, rows)?;
            let end = FutureReader::new(&mut access, async { wasmtime::error::Ok(Ok(())) })?;
            Ok(Ok((columns, rows, end)))
        })
    }

    async fn last_insert_rowid_async(
        accessor: &Accessor<T, Self>,
        connection: Resource<OpenConnection>,
    ) -> wasmtime::Result<i64> {
        let (_, connection) = taken(accessor, &connection)?;
        Ok(connection.last_insert_rowid.load(Ordering::Relaxed))
    }

    async fn changes_async(
        accessor: &Accessor<T, Self>,
        connection: Resource<OpenConnection>,
    ) -> wasmtime::Result<u64> {
        let (_, connection) = taken(accessor, &connection)?;
        Ok(connection.changes.load(Ordering::Relaxed))
    }
}
