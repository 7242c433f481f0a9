//! `fermyon:spin/postgres@2.0.0`, `spin:postgres/postgres@3.0.0` and `spin:postgres/postgres@4.2.0`, which takes in 4.0.0.
//!
//! A statement and its values go in one turn. Values are sent as they are typed, so that what a place of the statement
//! takes is the server's to judge; what it gives comes in the form that says it exactly.

mod address;
mod calendar;
mod client;
mod error;
mod numeric;
mod parameter;
mod v3;
mod v4;
mod value;

use std::sync::Arc;

use wasmtime::component::{Linker, Resource};

use super::failure::Failure;
use super::session::{Caller, Opened, Opening};
use crate::host::key_value::{Guest, v2};
use crate::host::state::GuestState;
use address::Address;
use client::{Answer, Parameter, Refusal, Sent};
use error::DatabaseError;
use value::{Generation, Kind, Value};

pub(super) use client::Client;

use v2::fermyon::spin::postgres as of2;
use v2::fermyon::spin::rdbms_types as types;

/// A connection that a guest has open.
#[expect(
    unreachable_pub,
    reason = "the bindings, in modules of their own, hand it on"
)]
pub struct Connection(Arc<Opened<Client>>);

/// Adds all of them.
pub(super) fn add_to_linker(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    types::add_to_linker::<_, Guest>(linker, |state| state)?;
    of2::add_to_linker::<_, Guest>(linker, |state| state)?;
    v3::add_to_linker(linker)?;
    v4::add_to_linker(linker)
}

/// Why a guest's call gave nothing, for all interfaces.
enum Error {
    Connection(String),
    Parameter(String),
    Database(DatabaseError),
    Value(String),
    Other(String),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::SentTooLarge(..) | Failure::ReceivedTooLarge(_) | Failure::NotOffered(_) => {
                Self::Other(failure.for_guest())
            }
            _ => Self::Connection(failure.for_guest()),
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Database(error) => Self::Database(error),
            Refusal::Value(why) => Self::Value(why),
        }
    }
}

async fn open(opening: Opening, address: Result<Address, Failure>) -> Result<Connection, Error> {
    Ok(Connection(opening.open(address).await?))
}

/// A guest's connection, on whose account its calls are.
struct Call {
    opened: Arc<Opened<Client>>,
    caller: Caller,
}

impl Call {
    fn of(state: &mut GuestState, connection: &Resource<Connection>) -> wasmtime::Result<Self> {
        let opened = Arc::clone(&state.table().get(connection)?.0);
        Ok(Self {
            opened,
            caller: Caller::of(state),
        })
    }

    /// Asks a statement, whose values may not be what they should.
    async fn ask(
        self,
        statement: String,
        values: Result<Vec<Parameter>, String>,
        generation: Generation,
    ) -> Result<Answer, Error> {
        let values = values.map_err(Error::Parameter)?;
        let sent = Sent::new(&statement, values, generation).map_err(Error::Parameter)?;
        Ok(self.opened.call(&self.caller, sent).await??)
    }
}

impl From<Error> for types::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Connection(why) => Self::ConnectionFailed(why),
            Error::Parameter(why) => Self::BadParameter(why),
            Error::Database(error) => Self::QueryFailed(error.to_string()),
            Error::Value(why) => Self::ValueConversionFailed(why),
            Error::Other(why) => Self::Other(why),
        }
    }
}

impl From<types::ParameterValue> for Parameter {
    fn from(value: types::ParameterValue) -> Self {
        use types::ParameterValue as V;
        match value {
            V::Boolean(value) => Self::typed(value),
            V::Int8(value) => Self::typed(value),
            V::Int16(value) => Self::typed(value),
            V::Int32(value) => Self::typed(value),
            V::Int64(value) => Self::typed(value),
            V::Uint8(value) => Self::typed(value),
            V::Uint16(value) => Self::typed(value),
            V::Uint32(value) => Self::typed(value),
            V::Uint64(value) => Self::typed(value),
            V::Floating32(value) => Self::typed(value),
            V::Floating64(value) => Self::typed(value),
            V::Str(value) => Self::text(value),
            V::Binary(value) => Self::binary(value),
            V::DbNull => Self::null(),
        }
    }
}

impl From<Kind> for types::DbDataType {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Boolean => Self::Boolean,
            Kind::Int8 => Self::Int8,
            Kind::Int16 => Self::Int16,
            Kind::Int32 => Self::Int32,
            Kind::Int64 => Self::Int64,
            Kind::Floating32 => Self::Floating32,
            Kind::Floating64 => Self::Floating64,
            Kind::Str => Self::Str,
            Kind::Binary => Self::Binary,
            _ => Self::Other,
        }
    }
}

impl From<Value> for types::DbValue {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::DbNull,
            Value::Boolean(value) => Self::Boolean(value),
            Value::Int8(value) => Self::Int8(value),
            Value::Int16(value) => Self::Int16(value),
            Value::Int32(value) => Self::Int32(value),
            Value::Int64(value) => Self::Int64(value),
            Value::Floating32(value) => Self::Floating32(value),
            Value::Floating64(value) => Self::Floating64(value),
            Value::Str(value) => Self::Str(value),
            Value::Binary(value) => Self::Binary(value),
            _ => Self::Unsupported,
        }
    }
}

impl From<Answer> for types::RowSet {
    fn from(answer: Answer) -> Self {
        let columns = answer.columns.into_iter().map(|column| types::Column {
            name: column.name,
            data_type: column.kind.into(),
        });
        let rows = answer.rows.into_iter();
        Self {
            columns: columns.collect(),
            rows: rows
                .map(|row| row.into_iter().map(Into::into).collect())
                .collect(),
        }
    }
}

impl types::Host for &mut GuestState {}
impl of2::Host for &mut GuestState {}

impl of2::HostConnection for &mut GuestState {
    async fn open(
        &mut self,
        address: String,
    ) -> wasmtime::Result<Result<Resource<Connection>, types::Error>> {
        match open(Opening::of(self), Address::parse(&address)).await {
            Ok(connection) => Ok(Ok(self.table().push(connection)?)),
            Err(error) => Ok(Err(error.into())),
        }
    }

    async fn query(
        &mut self,
        connection: Resource<Connection>,
        statement: String,
        values: Vec<types::ParameterValue>,
    ) -> wasmtime::Result<Result<types::RowSet, types::Error>> {
        let values = values.into_iter().map(Into::into).collect();
        let asked = Call::of(self, &connection)?.ask(statement, Ok(values), Generation::Second);
        Ok(asked.await.map(Into::into).map_err(Into::into))
    }

    async fn execute(
        &mut self,
        connection: Resource<Connection>,
        statement: String,
        values: Vec<types::ParameterValue>,
    ) -> wasmtime::Result<Result<u64, types::Error>> {
        let values = values.into_iter().map(Into::into).collect();
        let asked = Call::of(self, &connection)?.ask(statement, Ok(values), Generation::Second);
        Ok(asked
            .await
            .map(|answer| answer.affected)
            .map_err(Into::into))
    }

    async fn drop(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        self.table().delete(connection)?;
        Ok(())
    }
}
