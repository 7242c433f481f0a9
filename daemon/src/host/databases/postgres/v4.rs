//! `spin:postgres/postgres@4.2.0`: calls that others may go on beside; what of it 4.0.0 and 4.1.0 have is the same.

use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use wasmtime::component::{Accessor, FutureReader, Linker, Resource, StreamReader};

use super::super::session::Opening;
use super::address::Address;
use super::client::{Answer, Column, Parameter};
use super::value::{Bound, Generation, Kind, Value};
use super::{Call, Connection, Error, open};
use crate::host::key_value::Guest;
use crate::host::state::GuestState;

/// What a connection is made of.
#[expect(
    unreachable_pub,
    reason = "the bindings, in modules of their own, hand it on"
)]
pub struct Builder {
    address: String,
    authority: Option<Vec<u8>>,
}

mod generated {
    wasmtime::component::bindgen!({
        path: "wit/spin-postgres-4.2.0",
        world: "spin:postgres/host",
        imports: {
            "spin:postgres/postgres.[method]connection-builder.build-async": store | trappable,
            "spin:postgres/postgres.[static]connection.open-async": store | trappable,
            "spin:postgres/postgres.[method]connection.query-async": store | trappable,
            "spin:postgres/postgres.[method]connection.execute-async": store | trappable,
            default: async | trappable,
        },
        with: {
            "spin:postgres/postgres.connection": crate::host::databases::postgres::Connection,
            "spin:postgres/postgres.connection-builder": super::Builder,
        },
    });
}

use generated::spin::postgres::postgres as of4;

/// Adds it.
pub(super) fn add_to_linker(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    of4::add_to_linker::<_, Guest>(linker, |state| state)
}

impl From<Error> for of4::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Connection(why) => Self::ConnectionFailed(why),
            Error::Parameter(why) => Self::BadParameter(why),
            Error::Database(error) => {
                let error = of4::DbError {
                    as_text: error.to_string(),
                    severity: error.severity,
                    code: error.code,
                    message: error.message,
                    detail: error.detail,
                    extras: error.extras,
                };
                Self::QueryFailed(of4::QueryError::DbError(error))
            }
            Error::Value(why) => Self::ValueConversionFailed(why),
            Error::Other(why) => Self::Other(why),
        }
    }
}

/// A bound as the interface has it.
type Bound4<T> = Option<(T, of4::RangeBoundKind)>;

fn bound<T>(bound: Bound4<T>) -> Bound<T> {
    bound.map(|(end, kind)| (end, matches!(kind, of4::RangeBoundKind::Inclusive)))
}

fn bounds<T>(lower: Bound<T>, upper: Bound<T>) -> (Bound4<T>, Bound4<T>) {
    let one = |bound: Bound<T>| {
        bound.map(|(end, is_in)| {
            let kind = if is_in {
                of4::RangeBoundKind::Inclusive
            } else {
                of4::RangeBoundKind::Exclusive
            };
            (end, kind)
        })
    };
    (one(lower), one(upper))
}

fn parameter(value: of4::ParameterValue) -> Result<Parameter, String> {
    use of4::ParameterValue as V;
    Ok(match value {
        V::Boolean(value) => Parameter::typed(value),
        V::Int8(value) => Parameter::typed(value),
        V::Int16(value) => Parameter::typed(value),
        V::Int32(value) => Parameter::typed(value),
        V::Int64(value) => Parameter::typed(value),
        V::Floating32(value) => Parameter::typed(value),
        V::Floating64(value) => Parameter::typed(value),
        V::Str(value) | V::Uuid(value) | V::Decimal(value) => Parameter::text(value),
        V::Binary(value) => Parameter::binary(value),
        V::Jsonb(value) => Parameter::text(value),
        V::Date(date) => Parameter::date(date),
        V::Time(time) => Parameter::time(time),
        V::Datetime((year, month, day, hour, minute, second, nanosecond)) => {
            Parameter::datetime((year, month, day), (hour, minute, second, nanosecond))
        }
        V::Timestamp(seconds) => Parameter::timestamp(seconds)?,
        V::RangeInt32((lower, upper)) => Parameter::range(bound(lower), bound(upper)),
        V::RangeInt64((lower, upper)) => Parameter::range(bound(lower), bound(upper)),
        V::RangeDecimal((lower, upper)) => Parameter::range(bound(lower), bound(upper)),
        V::ArrayInt32(values) => Parameter::array(values),
        V::ArrayInt64(values) => Parameter::array(values),
        V::ArrayDecimal(values) | V::ArrayStr(values) => Parameter::array(values),
        V::Interval(of4::Interval {
            micros,
            days,
            months,
        }) => Parameter::interval(micros, days, months),
        V::DbNull => Parameter::null(),
    })
}

impl From<Kind> for of4::DbDataType {
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
            Kind::Uuid => Self::Uuid,
            Kind::Jsonb => Self::Jsonb,
            Kind::Decimal => Self::Decimal,
            Kind::RangeInt32 => Self::RangeInt32,
            Kind::RangeInt64 => Self::RangeInt64,
            Kind::RangeDecimal => Self::RangeDecimal,
            Kind::ArrayInt32 => Self::ArrayInt32,
            Kind::ArrayInt64 => Self::ArrayInt64,
            Kind::ArrayDecimal => Self::ArrayDecimal,
            Kind::ArrayStr => Self::ArrayStr,
            Kind::Interval => Self::Interval,
            Kind::Other(oid) => Self::Other(Kind::other_name(oid)),
        }
    }
}

impl From<Value> for of4::DbValue {
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
            Value::Uuid(text) => Self::Uuid(text),
            Value::Jsonb(bytes) => Self::Jsonb(bytes),
            Value::Decimal(text) => Self::Decimal(text),
            Value::RangeInt32(lower, upper) => Self::RangeInt32(bounds(lower, upper)),
            Value::RangeInt64(lower, upper) => Self::RangeInt64(bounds(lower, upper)),
            Value::RangeDecimal(lower, upper) => Self::RangeDecimal(bounds(lower, upper)),
            Value::ArrayInt32(values) => Self::ArrayInt32(values),
            Value::ArrayInt64(values) => Self::ArrayInt64(values),
            Value::ArrayDecimal(values) => Self::ArrayDecimal(values),
            Value::ArrayStr(values) => Self::ArrayStr(values),
            Value::Interval {
                micros,
                days,
                months,
            } => Self::Interval(of4::Interval {
                micros,
                days,
                months,
            }),
            Value::Unsupported(bytes) => Self::Unsupported(bytes),
        }
    }
}

fn columns(columns: Vec<Column>) -> Vec<of4::Column> {
    let columns = columns.into_iter().map(|column| of4::Column {
        name: column.name,
        data_type: column.kind.into(),
    });
    columns.collect()
}

fn rows(rows: Vec<Vec<Value>>) -> Vec<of4::Row> {
    let rows = rows.into_iter();
    rows.map(|row| row.into_iter().map(Into::into).collect())
        .collect()
}

/// The address with the authority that a guest's builder has.
fn built(builder: &Builder) -> Result<Address, super::Failure> {
    let mut address = Address::parse(&builder.address)?;
    address.authority.clone_from(&builder.authority);
    Ok(address)
}

type Answered<T> = wasmtime::Result<Result<T, of4::Error>>;

async fn ask(
    call: Call,
    statement: String,
    values: Vec<of4::ParameterValue>,
) -> Result<Answer, of4::Error> {
    let values = values.into_iter().map(parameter).collect();
    call.ask(statement, values, Generation::Fourth)
        .await
        .map_err(Into::into)
}

/// Opens a connection for a guest that others may go on beside.
async fn connect<T>(
    accessor: &Accessor<T, Guest>,
    address: Result<Address, super::Failure>,
) -> Answered<Resource<Connection>> {
    let opening = accessor.with(|mut access| Opening::of(access.get()));
    match open(opening, address).await {
        Ok(connection) => accessor.with(|mut access| {
            let state: &mut GuestState = access.get();
            Ok(Ok(state.table().push(connection)?))
        }),
        Err(error) => Ok(Err(error.into())),
    }
}

impl of4::Host for &mut GuestState {}

impl of4::HostConnectionBuilder for &mut GuestState {
    async fn new(&mut self, address: String) -> wasmtime::Result<Resource<Builder>> {
        let authority = None;
        Ok(self.table().push(Builder { address, authority })?)
    }

    async fn set_ca_root(
        &mut self,
        builder: Resource<Builder>,
        certificate: String,
    ) -> Answered<()> {
        let Ok(certificate) = CertificateDer::from_pem_slice(certificate.as_bytes()) else {
            let why = "the authority is no certificate in PEM".to_owned();
            return Ok(Err(of4::Error::BadParameter(why)));
        };
        self.table().get_mut(&builder)?.authority = Some(certificate.to_vec());
        Ok(Ok(()))
    }

    async fn build(&mut self, builder: Resource<Builder>) -> Answered<Resource<Connection>> {
        let address = built(self.table().get(&builder)?);
        match open(Opening::of(self), address).await {
            Ok(connection) => Ok(Ok(self.table().push(connection)?)),
            Err(error) => Ok(Err(error.into())),
        }
    }

    async fn drop(&mut self, builder: Resource<Builder>) -> wasmtime::Result<()> {
        self.table().delete(builder)?;
        Ok(())
    }
}

impl<T: Send> of4::HostConnectionBuilderWithStore<T> for Guest {
    async fn build_async(
        accessor: &Accessor<T, Self>,
        builder: Resource<Builder>,
    ) -> Answered<Resource<Connection>> {
        let address = accessor.with(|mut access| {
            let state: &mut GuestState = access.get();
            wasmtime::error::Ok(built(state.table().get(&builder)?))
        })?;
        connect(accessor, address).await
    }
}

impl of4::HostConnection for &mut GuestState {
    async fn open(&mut self, address: String) -> Answered<Resource<Connection>> {
        match open(Opening::of(self), Address::parse(&address)).await {
            Ok(connection) => Ok(Ok(self.table().push(connection)?)),
            Err(error) => Ok(Err(error.into())),
        }
    }

    async fn query(
        &mut self,
        connection: Resource<Connection>,
        statement: String,
        values: Vec<of4::ParameterValue>,
    ) -> Answered<of4::RowSet> {
        let answer = ask(Call::of(self, &connection)?, statement, values).await;
        Ok(answer.map(|answer| of4::RowSet {
            columns: columns(answer.columns),
            rows: rows(answer.rows),
        }))
    }

    async fn execute(
        &mut self,
        connection: Resource<Connection>,
        statement: String,
        values: Vec<of4::ParameterValue>,
    ) -> Answered<u64> {
        let answer = ask(Call::of(self, &connection)?, statement, values).await;
        Ok(answer.map(|answer| answer.affected))
    }

    async fn drop(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        self.table().delete(connection)?;
        Ok(())
    }
}

impl<T: Send> of4::HostConnectionWithStore<T> for Guest {
    async fn open_async(
        accessor: &Accessor<T, Self>,
        address: String,
    ) -> Answered<Resource<Connection>> {
        connect(accessor, Address::parse(&address)).await
    }

    async fn query_async(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        statement: String,
        values: Vec<of4::ParameterValue>,
    ) -> Answered<(
        Vec<of4::Column>,
        StreamReader<of4::Row>,
        FutureReader<Result<(), of4::Error>>,
    )> {
        let call = accessor.with(|mut access| Call::of(access.get(), &connection))?;
        // All of it, so that the next statement need not wait until the guest has read this one's rows.
        let answer = match ask(call, statement, values).await {
            Ok(answer) => answer,
            Err(error) => return Ok(Err(error)),
        };
        accessor.with(|mut access| {
            let rows = StreamReader::new(&mut access, rows(answer.rows))?;
            let end = FutureReader::new(&mut access, async { wasmtime::error::Ok(Ok(())) })?;
            Ok(Ok((columns(answer.columns), rows, end)))
        })
    }

    async fn execute_async(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        statement: String,
        values: Vec<of4::ParameterValue>,
    ) -> Answered<u64> {
        let call = accessor.with(|mut access| Call::of(access.get(), &connection))?;
        let answer = ask(call, statement, values).await;
        Ok(answer.map(|answer| answer.affected))
    }
}
