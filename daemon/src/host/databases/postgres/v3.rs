//! `spin:postgres/postgres@3.0.0`.

use wasmtime::component::{Linker, Resource};

use super::super::session::Opening;
use super::address::Address;
use super::client::{Answer, Parameter};
use super::value::{Generation, Kind, Value};
use super::{Call, Connection, Error, open};
use crate::host::key_value::Guest;
use crate::host::state::GuestState;

mod generated {
    wasmtime::component::bindgen!({
        path: "wit/spin-postgres-3.0.0",
        world: "spin:postgres/host",
        imports: { default: async | trappable },
        with: { "spin:postgres/postgres.connection": crate::host::databases::postgres::Connection },
    });
}

use generated::spin::postgres::postgres as of3;

/// Adds it.
pub(super) fn add_to_linker(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    of3::add_to_linker::<_, Guest>(linker, |state| state)
}

impl From<Error> for of3::Error {
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

fn parameter(value: of3::ParameterValue) -> Result<Parameter, String> {
    use of3::ParameterValue as V;
    Ok(match value {
        V::Boolean(value) => Parameter::typed(value),
        V::Int8(value) => Parameter::typed(value),
        V::Int16(value) => Parameter::typed(value),
        V::Int32(value) => Parameter::typed(value),
        V::Int64(value) => Parameter::typed(value),
        V::Floating32(value) => Parameter::typed(value),
        V::Floating64(value) => Parameter::typed(value),
        V::Str(value) => Parameter::text(value),
        V::Binary(value) => Parameter::binary(value),
        V::Date(date) => Parameter::date(date),
        V::Time(time) => Parameter::time(time),
        V::Datetime((year, month, day, hour, minute, second, nanosecond)) => {
            Parameter::datetime((year, month, day), (hour, minute, second, nanosecond))
        }
        V::Timestamp(seconds) => Parameter::timestamp(seconds)?,
        V::DbNull => Parameter::null(),
    })
}

impl From<Kind> for of3::DbDataType {
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
            Kind::Date => Self::Date,
            Kind::Time => Self::Time,
            Kind::Datetime => Self::Datetime,
            Kind::Timestamp => Self::Timestamp,
            _ => Self::Other,
        }
    }
}

impl From<Value> for of3::DbValue {
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
            Value::Date(date) => Self::Date(date),
            Value::Time(time) => Self::Time(time),
            Value::Datetime((year, month, day), (hour, minute, second, nanosecond)) => {
                Self::Datetime((year, month, day, hour, minute, second, nanosecond))
            }
            Value::Timestamp(seconds) => Self::Timestamp(seconds),
            _ => Self::Unsupported,
        }
    }
}

impl From<Answer> for of3::RowSet {
    fn from(answer: Answer) -> Self {
        let columns = answer.columns.into_iter().map(|column| of3::Column {
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

impl of3::Host for &mut GuestState {}

impl of3::HostConnection for &mut GuestState {
    async fn open(
        &mut self,
        address: String,
    ) -> wasmtime::Result<Result<Resource<Connection>, of3::Error>> {
        match open(Opening::of(self), Address::parse(&address)).await {
            Ok(connection) => Ok(Ok(self.table().push(connection)?)),
            Err(error) => Ok(Err(error.into())),
        }
    }

    async fn query(
        &mut self,
        connection: Resource<Connection>,
        statement: String,
        values: Vec<of3::ParameterValue>,
    ) -> wasmtime::Result<Result<of3::RowSet, of3::Error>> {
        let values = values.into_iter().map(parameter).collect();
        let asked = Call::of(self, &connection)?.ask(statement, values, Generation::Third);
        Ok(asked.await.map(Into::into).map_err(Into::into))
    }

    async fn execute(
        &mut self,
        connection: Resource<Connection>,
        statement: String,
        values: Vec<of3::ParameterValue>,
    ) -> wasmtime::Result<Result<u64, of3::Error>> {
        let values = values.into_iter().map(parameter).collect();
        let asked = Call::of(self, &connection)?.ask(statement, values, Generation::Third);
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
