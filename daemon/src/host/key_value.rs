//! `fermyon:spin/key-value@2.0.0` and `spin:key-value/key-value@3.0.0`: stores of keys and values.
//!
//! A store that is opened is a handle and a name; every call goes to control, which answers when a write is durable.

use std::sync::Arc;

use wasmtime::component::{
    Access, Accessor, FutureReader, HasData, Linker, Resource, ResourceTableError, StreamReader,
};

use super::capabilities::Capabilities;
use super::state::GuestState;
use crate::link::services::{Fault, Given, StoreOp};

/// Most stores that one guest has open at a time.
const OPEN_MAX: usize = 256;
/// Keys that are asked for at once when a guest wants all.
const KEYS_A_PAGE: u32 = 1024;

/// A store that a guest has open.
#[expect(
    unreachable_pub,
    reason = "the bindings, in modules of their own, hand it on"
)]
pub struct OpenStore(pub(super) String);

pub(super) mod v2 {
    wasmtime::component::bindgen!({
        path: "wit/fermyon-spin-2.0.0",
        world: "fermyon:spin/host",
        imports: { default: async | trappable },
        with: {
            "fermyon:spin/key-value.store": super::OpenStore,
            "fermyon:spin/sqlite.connection": crate::host::sql::OpenConnection,
            "fermyon:spin/postgres.connection": crate::host::databases::postgres::Connection,
            "fermyon:spin/redis.connection": crate::host::databases::redis::Connection,
        },
    });
}

mod v3 {
    wasmtime::component::bindgen!({
        path: "wit/spin-key-value-3.0.0",
        world: "spin:key-value/host",
        imports: { default: store | trappable },
        with: { "spin:key-value/key-value.store": super::OpenStore },
    });
}

use v2::fermyon::spin::key_value as of2;
use v3::spin::key_value::key_value as of3;

/// Adds both.
pub(super) fn add_to_linker(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    of2::add_to_linker::<_, Guest>(linker, |state| state)?;
    of3::add_to_linker::<_, Guest>(linker, |state| state)
}

/// Whose calls these are.
pub(super) struct Guest;

impl HasData for Guest {
    type Data<'a> = &'a mut GuestState;
}

/// Why a store is not opened.
pub(super) enum NotOpened {
    TableFull,
    Denied,
}

/// Opens a store on behalf of a guest.
pub(super) fn open(state: &mut GuestState, name: String) -> Result<Resource<OpenStore>, NotOpened> {
    if !state.capabilities.may_open(&name) {
        return Err(NotOpened::Denied);
    }
    if state.open_stores >= OPEN_MAX {
        return Err(NotOpened::TableFull);
    }
    let opened = state.table().push(OpenStore(name));
    let opened = opened.map_err(|_| NotOpened::TableFull)?;
    state.open_stores += 1;
    Ok(opened)
}

/// Closes a store.
pub(super) fn close(state: &mut GuestState, store: Resource<OpenStore>) -> wasmtime::Result<()> {
    state.table().delete(store)?;
    state.open_stores = state.open_stores.saturating_sub(1);
    Ok(())
}

/// The name of an open store.
pub(super) fn name(
    state: &mut GuestState,
    store: &Resource<OpenStore>,
) -> Result<String, ResourceTableError> {
    Ok(state.table().get(store)?.0.clone())
}

/// What a call gave that was expected to give something else: a fault of ours.
pub(super) fn unexpected<T>(given: &Given) -> Result<T, Fault> {
    Err(Fault::Unavailable(format!(
        "the node gave {given:?} for an answer"
    )))
}

/// All keys of a store, page by page; the node bounds how many there can be.
pub(super) async fn all_keys(
    capabilities: &Capabilities,
    store: &str,
) -> Result<Vec<String>, Fault> {
    let mut keys: Vec<String> = Vec::new();
    loop {
        let op = StoreOp::Keys {
            after: keys.last().cloned(),
            limit: KEYS_A_PAGE,
        };
        match capabilities.store(store, op).await? {
            Given::Keys(page) if page.is_empty() => return Ok(keys),
            Given::Keys(page) => {
                let last = page.len() < usize::try_from(KEYS_A_PAGE).unwrap_or(usize::MAX);
                keys.extend(page);
                if last {
                    return Ok(keys);
                }
            }
            given => return unexpected(&given),
        }
    }
}

/// A value, where there is one.
pub(super) fn value(given: Given) -> Result<Option<Vec<u8>>, Fault> {
    match given {
        Given::Value(value) => Ok(value),
        given => unexpected(&given),
    }
}

/// Whether.
pub(super) fn flag(given: Given) -> Result<bool, Fault> {
    match given {
        Given::Flag(flag) => Ok(flag),
        given => unexpected(&given),
    }
}

/// That it is done.
pub(super) fn done(given: Given) -> Result<(), Fault> {
    match given {
        Given::Done => Ok(()),
        given => unexpected(&given),
    }
}

impl From<NotOpened> for of2::Error {
    fn from(why: NotOpened) -> Self {
        match why {
            NotOpened::TableFull => Self::StoreTableFull,
            NotOpened::Denied => Self::AccessDenied,
        }
    }
}

impl From<Fault> for of2::Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::NoSuch(_) => Self::NoSuchStore,
            Fault::Denied(_) => Self::AccessDenied,
            Fault::Refused(why) | Fault::Unavailable(why) => Self::Other(why),
        }
    }
}

impl From<NotOpened> for of3::Error {
    fn from(why: NotOpened) -> Self {
        match why {
            NotOpened::TableFull => Self::StoreTableFull,
            NotOpened::Denied => Self::AccessDenied,
        }
    }
}

impl From<Fault> for of3::Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::NoSuch(_) => Self::NoSuchStore,
            Fault::Denied(_) => Self::AccessDenied,
            Fault::Refused(why) | Fault::Unavailable(why) => Self::Other(why),
        }
    }
}

impl of2::Host for &mut GuestState {}

impl of2::HostStore for &mut GuestState {
    async fn open(
        &mut self,
        label: String,
    ) -> wasmtime::Result<Result<Resource<OpenStore>, of2::Error>> {
        Ok(open(self, label).map_err(Into::into))
    }

    async fn get(
        &mut self,
        store: Resource<OpenStore>,
        key: String,
    ) -> wasmtime::Result<Result<Option<Vec<u8>>, of2::Error>> {
        let name = name(self, &store)?;
        let given = self.capabilities.store(&name, StoreOp::Get(key)).await;
        Ok(given.and_then(value).map_err(Into::into))
    }

    async fn set(
        &mut self,
        store: Resource<OpenStore>,
        key: String,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), of2::Error>> {
        let name = name(self, &store)?;
        let op = StoreOp::Set(vec![(key, value)]);
        let given = self.capabilities.store(&name, op).await;
        Ok(given.and_then(done).map_err(Into::into))
    }

    async fn delete(
        &mut self,
        store: Resource<OpenStore>,
        key: String,
    ) -> wasmtime::Result<Result<(), of2::Error>> {
        let name = name(self, &store)?;
        let given = self
            .capabilities
            .store(&name, StoreOp::Delete(vec![key]))
            .await;
        Ok(given.and_then(done).map_err(Into::into))
    }

    async fn exists(
        &mut self,
        store: Resource<OpenStore>,
        key: String,
    ) -> wasmtime::Result<Result<bool, of2::Error>> {
        let name = name(self, &store)?;
        let given = self.capabilities.store(&name, StoreOp::Exists(key)).await;
        Ok(given.and_then(flag).map_err(Into::into))
    }

    async fn get_keys(
        &mut self,
        store: Resource<OpenStore>,
    ) -> wasmtime::Result<Result<Vec<String>, of2::Error>> {
        let name = name(self, &store)?;
        let keys = all_keys(&self.capabilities, &name).await;
        Ok(keys.map_err(Into::into))
    }

    async fn drop(&mut self, store: Resource<OpenStore>) -> wasmtime::Result<()> {
        close(self, store)
    }
}

impl of3::Host for &mut GuestState {}

impl of3::HostStore for &mut GuestState {}

/// The name of an open store and whose guest has it, taken out of the state that calls at once share.
fn found<T>(
    accessor: &Accessor<T, Guest>,
    store: &Resource<OpenStore>,
) -> wasmtime::Result<(Arc<Capabilities>, String)> {
    accessor.with(|mut access| {
        let state: &mut GuestState = access.get();
        let name = name(state, store)?;
        Ok((Arc::clone(&state.capabilities), name))
    })
}

impl<T: Send> of3::HostStoreWithStore<T> for Guest {
    async fn open(
        accessor: &Accessor<T, Self>,
        label: String,
    ) -> wasmtime::Result<Result<Resource<OpenStore>, of3::Error>> {
        Ok(accessor.with(|mut access| open(access.get(), label).map_err(Into::into)))
    }

    async fn get(
        accessor: &Accessor<T, Self>,
        store: Resource<OpenStore>,
        key: String,
    ) -> wasmtime::Result<Result<Option<Vec<u8>>, of3::Error>> {
        let (capabilities, name) = found(accessor, &store)?;
        let given = capabilities.store(&name, StoreOp::Get(key)).await;
        Ok(given.and_then(value).map_err(Into::into))
    }

    async fn set(
        accessor: &Accessor<T, Self>,
        store: Resource<OpenStore>,
        key: String,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), of3::Error>> {
        let (capabilities, name) = found(accessor, &store)?;
        let op = StoreOp::Set(vec![(key, value)]);
        let given = capabilities.store(&name, op).await;
        Ok(given.and_then(done).map_err(Into::into))
    }

    async fn delete(
        accessor: &Accessor<T, Self>,
        store: Resource<OpenStore>,
        key: String,
    ) -> wasmtime::Result<Result<(), of3::Error>> {
        let (capabilities, name) = found(accessor, &store)?;
        let given = capabilities.store(&name, StoreOp::Delete(vec![key])).await;
        Ok(given.and_then(done).map_err(Into::into))
    }

    async fn exists(
        accessor: &Accessor<T, Self>,
        store: Resource<OpenStore>,
        key: String,
    ) -> wasmtime::Result<Result<bool, of3::Error>> {
        let (capabilities, name) = found(accessor, &store)?;
        let given = capabilities.store(&name, StoreOp::Exists(key)).await;
        Ok(given.and_then(flag).map_err(Into::into))
    }

    async fn get_keys(
        accessor: &Accessor<T, Self>,
        store: Resource<OpenStore>,
    ) -> wasmtime::Result<(StreamReader<String>, FutureReader<Result<(), of3::Error>>)> {
        let (capabilities, name) = found(accessor, &store)?;
        let (keys, end) = match all_keys(&capabilities, &name).await {
            Ok(keys) => (keys, Ok(())),
            Err(fault) => (Vec::new(), Err(fault.into())),
        };
        accessor.with(|mut access| {
            let keys = StreamReader::new(&mut access, keys)?;
            let end = FutureReader::new(&mut access, async move { wasmtime::error::Ok(end) })?;
            Ok((keys, end))
        })
    }

    fn drop(mut access: Access<'_, T, Self>, store: Resource<OpenStore>) -> wasmtime::Result<()> {
        close(access.get(), store)
    }
}
