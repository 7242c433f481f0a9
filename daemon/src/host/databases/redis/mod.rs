//! `fermyon:spin/redis@2.0.0` and `spin:redis/redis@3.0.0`.

mod address;
mod client;
mod resp;

use std::sync::Arc;

use wasmtime::component::{Access, Accessor, Linker, Resource};

use super::failure::Failure;
use super::session::{Caller, Opened, Opening};
use crate::host::key_value::{Guest, v2};
use crate::host::state::GuestState;
use address::Address;
use client::Sent;
use resp::{Refusal, Value, command};

pub(super) use client::Client;

/// Commands after which the connection is not what it was: it is no other guest's.
const STATEFUL: [&str; 14] = [
    "ASKING",
    "AUTH",
    "CLIENT",
    "DISCARD",
    "EXEC",
    "HELLO",
    "MULTI",
    "QUIT",
    "READONLY",
    "READWRITE",
    "RESET",
    "SCRIPT",
    "SELECT",
    "WATCH",
];
/// Commands whose answer has no end, which the interface could not give.
const ENDLESS: [&str; 6] = [
    "MONITOR",
    "PSUBSCRIBE",
    "PSYNC",
    "SSUBSCRIBE",
    "SUBSCRIBE",
    "SYNC",
];

/// A connection that a guest has open.
#[expect(
    unreachable_pub,
    reason = "the bindings, in modules of their own, hand it on"
)]
pub struct Connection(Arc<Opened<Client>>);

mod v3 {
    wasmtime::component::bindgen!({
        path: "wit/spin-redis-3.0.0",
        world: "spin:redis/host",
        imports: { default: store | trappable },
        with: { "spin:redis/redis.connection": super::Connection },
    });
}

use v2::fermyon::spin::redis as of2;
use v3::spin::redis::redis as of3;

/// Adds both.
pub(super) fn add_to_linker(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    of2::add_to_linker::<_, Guest>(linker, |state| state)?;
    of3::add_to_linker::<_, Guest>(linker, |state| state)
}

/// Why a guest's call gave nothing, for both interfaces.
enum Error {
    InvalidAddress,
    TooMany,
    Type,
    Other(String),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Address(_) => Self::InvalidAddress,
            failure if failure.is_too_many() => Self::TooMany,
            failure => Self::Other(failure.for_guest()),
        }
    }
}

impl From<Refusal> for Error {
    fn from(Refusal(why): Refusal) -> Self {
        if why.starts_with("WRONGTYPE") || why.contains("not an integer") {
            Self::Type
        } else {
            Self::Other(why)
        }
    }
}

macro_rules! errors {
    ($($of:ident)*) => {$(
        impl From<Error> for $of::Error {
            fn from(error: Error) -> Self {
                match error {
                    Error::InvalidAddress => Self::InvalidAddress,
                    Error::TooMany => Self::TooManyConnections,
                    Error::Type => Self::TypeError,
                    Error::Other(why) => Self::Other(why),
                }
            }
        }

        impl From<Value> for $of::RedisResult {
            fn from(value: Value) -> Self {
                match value {
                    Value::Nil => Self::Nil,
                    Value::Status(text) => Self::Status(text),
                    Value::Int(number) => Self::Int64(number),
                    Value::Bytes(bytes) => Self::Binary(bytes),
                }
            }
        }

        impl From<$of::RedisParameter> for Vec<u8> {
            fn from(parameter: $of::RedisParameter) -> Self {
                match parameter {
                    $of::RedisParameter::Int64(number) => number.to_string().into_bytes(),
                    $of::RedisParameter::Binary(bytes) => bytes,
                }
            }
        }
    )*};
}

errors!(of2 of3);

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

    async fn all(&self, parts: &[&[u8]], is_stateful: bool) -> Result<Vec<Value>, Error> {
        let sent = Sent {
            bytes: command(parts.iter().copied()),
            is_stateful,
        };
        Ok(self.opened.call(&self.caller, sent).await??)
    }

    /// An answer of one value.
    async fn one(&self, parts: &[&[u8]]) -> Result<Value, Error> {
        let mut values = self.all(parts, false).await?.into_iter();
        match (values.next(), values.next()) {
            (Some(value), None) => Ok(value),
            _ => Err(Error::Type),
        }
    }

    async fn number(&self, parts: &[&[u8]]) -> Result<i64, Error> {
        match self.one(parts).await? {
            Value::Int(number) => Ok(number),
            _ => Err(Error::Type),
        }
    }

    async fn publish(&self, channel: String, payload: Vec<u8>) -> Result<(), Error> {
        let parts: [&[u8]; 3] = [b"PUBLISH", channel.as_bytes(), &payload];
        self.number(&parts).await.map(drop)
    }

    async fn get(&self, key: String) -> Result<Option<Vec<u8>>, Error> {
        match self.one(&[b"GET", key.as_bytes()]).await? {
            Value::Nil => Ok(None),
            Value::Bytes(bytes) => Ok(Some(bytes)),
            _ => Err(Error::Type),
        }
    }

    async fn set(&self, key: String, value: Vec<u8>) -> Result<(), Error> {
        let parts: [&[u8]; 3] = [b"SET", key.as_bytes(), &value];
        self.one(&parts).await.map(drop)
    }

    async fn incr(&self, key: String) -> Result<i64, Error> {
        self.number(&[b"INCR", key.as_bytes()]).await
    }

    /// A command whose answer says of how many.
    async fn many(&self, first: &[&[u8]], rest: &[String]) -> Result<u32, Error> {
        let rest = rest.iter().map(String::as_bytes);
        let parts: Vec<&[u8]> = first.iter().copied().chain(rest).collect();
        let number = self.number(&parts).await?;
        u32::try_from(number).map_err(|_| Error::Type)
    }

    async fn del(&self, keys: Vec<String>) -> Result<u32, Error> {
        self.many(&[b"DEL"], &keys).await
    }

    async fn sadd(&self, key: String, values: Vec<String>) -> Result<u32, Error> {
        self.many(&[b"SADD", key.as_bytes()], &values).await
    }

    async fn srem(&self, key: String, values: Vec<String>) -> Result<u32, Error> {
        self.many(&[b"SREM", key.as_bytes()], &values).await
    }

    async fn smembers(&self, key: String) -> Result<Vec<String>, Error> {
        let values = self.all(&[b"SMEMBERS", key.as_bytes()], false).await?;
        let members = values.into_iter().map(|value| match value {
            Value::Bytes(bytes) => String::from_utf8(bytes).map_err(|_| Error::Type),
            _ => Err(Error::Type),
        });
        members.collect()
    }

    async fn execute(&self, name: String, arguments: Vec<Vec<u8>>) -> Result<Vec<Value>, Error> {
        let is = |names: &[&str]| names.iter().any(|one| one.eq_ignore_ascii_case(&name));
        if is(&ENDLESS) {
            return Err(Error::Other(format!(
                "{name} is not offered: the interface gives one answer to a command, and this has no end"
            )));
        }
        let arguments = arguments.iter().map(Vec::as_slice);
        let parts: Vec<&[u8]> = std::iter::once(name.as_bytes()).chain(arguments).collect();
        self.all(&parts, is(&STATEFUL)).await
    }
}

async fn open(opening: Opening, address: String) -> Result<Connection, Error> {
    let opened = opening.open(Address::parse(&address)).await?;
    Ok(Connection(opened))
}

/// Puts the same functions before both generations of the interface.
macro_rules! calls {
    ($($name:ident($($argument:ident: $type:ty),*) -> $given:ty;)*) => {
        impl of2::HostConnection for &mut GuestState {
            async fn open(
                &mut self,
                address: String,
            ) -> wasmtime::Result<Result<Resource<Connection>, of2::Error>> {
                match open(Opening::of(self), address).await {
                    Ok(connection) => Ok(Ok(self.table().push(connection)?)),
                    Err(error) => Ok(Err(error.into())),
                }
            }

            $(async fn $name(
                &mut self,
                connection: Resource<Connection>,
                $($argument: $type),*
            ) -> wasmtime::Result<Result<$given, of2::Error>> {
                let call = Call::of(self, &connection)?;
                Ok(call.$name($($argument),*).await.map_err(Into::into))
            })*

            async fn execute(
                &mut self,
                connection: Resource<Connection>,
                command: String,
                arguments: Vec<of2::RedisParameter>,
            ) -> wasmtime::Result<Result<Vec<of2::RedisResult>, of2::Error>> {
                let call = Call::of(self, &connection)?;
                let arguments = arguments.into_iter().map(Into::into).collect();
                let values = call.execute(command, arguments).await;
                let values = values.map(|values| values.into_iter().map(Into::into).collect());
                Ok(values.map_err(Into::into))
            }

            async fn drop(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
                self.table().delete(connection)?;
                Ok(())
            }
        }

        impl<T: Send> of3::HostConnectionWithStore<T> for Guest {
            async fn open(
                accessor: &Accessor<T, Self>,
                address: String,
            ) -> wasmtime::Result<Result<Resource<Connection>, of3::Error>> {
                let opening = accessor.with(|mut access| Opening::of(access.get()));
                match open(opening, address).await {
                    Ok(connection) => accessor.with(|mut access| {
                        let state: &mut GuestState = access.get();
                        Ok(Ok(state.table().push(connection)?))
                    }),
                    Err(error) => Ok(Err(error.into())),
                }
            }

            $(async fn $name(
                accessor: &Accessor<T, Self>,
                connection: Resource<Connection>,
                $($argument: $type),*
            ) -> wasmtime::Result<Result<$given, of3::Error>> {
                let call = accessor.with(|mut access| Call::of(access.get(), &connection))?;
                Ok(call.$name($($argument),*).await.map_err(Into::into))
            })*

            async fn execute(
                accessor: &Accessor<T, Self>,
                connection: Resource<Connection>,
                command: String,
                arguments: Vec<of3::RedisParameter>,
            ) -> wasmtime::Result<Result<Vec<of3::RedisResult>, of3::Error>> {
                let call = accessor.with(|mut access| Call::of(access.get(), &connection))?;
                let arguments = arguments.into_iter().map(Into::into).collect();
                let values = call.execute(command, arguments).await;
                let values = values.map(|values| values.into_iter().map(Into::into).collect());
                Ok(values.map_err(Into::into))
            }

            fn drop(
                mut access: Access<'_, T, Self>,
                connection: Resource<Connection>,
            ) -> wasmtime::Result<()> {
                let state: &mut GuestState = access.get();
                state.table().delete(connection)?;
                Ok(())
            }
        }
    };
}

calls! {
    publish(channel: String, payload: Vec<u8>) -> ();
    get(key: String) -> Option<Vec<u8>>;
    set(key: String, value: Vec<u8>) -> ();
    incr(key: String) -> i64;
    del(keys: Vec<String>) -> u32;
    sadd(key: String, values: Vec<String>) -> u32;
    smembers(key: String) -> Vec<String>;
    srem(key: String, values: Vec<String>) -> u32;
}

impl of2::Host for &mut GuestState {}
impl of3::Host for &mut GuestState {}
impl of3::HostConnection for &mut GuestState {}
