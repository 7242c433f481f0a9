//! `wasi:keyvalue` in the two drafts in use, which share a name and differ in shape: the same stores as Spin's interfaces.

use wasmtime::component::{Linker, Resource};

use super::capabilities::Capabilities;
use super::key_value::{
    Guest, NotOpened, OpenStore, all_keys, close, done, flag, name, open, unexpected, value,
};
use super::state::GuestState;
use crate::link::services::{Fault, Given, StoreOp};

/// Keys in one page of a list.
const KEYS_A_PAGE: u32 = 1024;

/// A value as it was when a guest looked at it, to be changed if it still is.
#[expect(
    unreachable_pub,
    reason = "the bindings, in modules of their own, hand it on"
)]
pub struct Looked {
    store: String,
    key: String,
    current: Option<Vec<u8>>,
}

mod draft {
    wasmtime::component::bindgen!({
        path: "wit/wasi-keyvalue-0.2.0-draft",
        world: "wasi:keyvalue/host",
        imports: { default: async | trappable },
        with: { "wasi:keyvalue/store.bucket": crate::host::key_value::OpenStore },
    });
}

mod draft2 {
    wasmtime::component::bindgen!({
        path: "wit/wasi-keyvalue-0.2.0-draft2",
        world: "wasi:keyvalue/host",
        imports: { default: async | trappable },
        with: {
            "wasi:keyvalue/store.bucket": crate::host::key_value::OpenStore,
            "wasi:keyvalue/atomics.cas": super::Looked,
        },
    });
}

use draft::wasi::keyvalue as of1;
use draft2::wasi::keyvalue as of2;

/// Adds both.
pub(super) fn add_to_linker(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    of1::store::add_to_linker::<_, Guest>(linker, |state| state)?;
    of1::atomics::add_to_linker::<_, Guest>(linker, |state| state)?;
    of1::batch::add_to_linker::<_, Guest>(linker, |state| state)?;
    of2::store::add_to_linker::<_, Guest>(linker, |state| state)?;
    of2::atomics::add_to_linker::<_, Guest>(linker, |state| state)?;
    of2::batch::add_to_linker::<_, Guest>(linker, |state| state)
}

/// What both drafts write alike, each with types of its own.
macro_rules! alike {
    ($of:ident) => {
        impl From<NotOpened> for $of::store::Error {
            fn from(why: NotOpened) -> Self {
                match why {
                    NotOpened::TableFull => Self::Other("too many stores are open".to_owned()),
                    NotOpened::Denied => Self::AccessDenied,
                }
            }
        }

        impl From<Fault> for $of::store::Error {
            fn from(fault: Fault) -> Self {
                match fault {
                    Fault::NoSuch(_) => Self::NoSuchStore,
                    Fault::Denied(_) => Self::AccessDenied,
                    Fault::Refused(why) | Fault::Unavailable(why) => Self::Other(why),
                }
            }
        }

        impl $of::store::Host for &mut GuestState {
            async fn open(
                &mut self,
                identifier: String,
            ) -> wasmtime::Result<Result<Resource<OpenStore>, $of::store::Error>> {
                Ok(open(self, identifier).map_err(Into::into))
            }
        }

        impl $of::batch::Host for &mut GuestState {
            async fn get_many(
                &mut self,
                bucket: Resource<OpenStore>,
                keys: Vec<String>,
            ) -> wasmtime::Result<Result<Vec<$of::Got>, $of::store::Error>> {
                let name = name(self, &bucket)?;
                let values = values(&self.capabilities, &name, keys.clone()).await;
                let got = |values: Vec<_>| keys.into_iter().zip(values).map($of::got).collect();
                Ok(values.map(got).map_err(Into::into))
            }

            async fn set_many(
                &mut self,
                bucket: Resource<OpenStore>,
                key_values: Vec<(String, Vec<u8>)>,
            ) -> wasmtime::Result<Result<(), $of::store::Error>> {
                let name = name(self, &bucket)?;
                let given = self
                    .capabilities
                    .store(&name, StoreOp::Set(key_values))
                    .await;
                Ok(given.and_then(done).map_err(Into::into))
            }

            async fn delete_many(
                &mut self,
                bucket: Resource<OpenStore>,
                keys: Vec<String>,
            ) -> wasmtime::Result<Result<(), $of::store::Error>> {
                let name = name(self, &bucket)?;
                let given = self.capabilities.store(&name, StoreOp::Delete(keys)).await;
                Ok(given.and_then(done).map_err(Into::into))
            }
        }

        impl $of::store::HostBucket for &mut GuestState {
            async fn get(
                &mut self,
                bucket: Resource<OpenStore>,
                key: String,
            ) -> wasmtime::Result<Result<Option<Vec<u8>>, $of::store::Error>> {
                let name = name(self, &bucket)?;
                let given = self.capabilities.store(&name, StoreOp::Get(key)).await;
                Ok(given.and_then(value).map_err(Into::into))
            }

            async fn set(
                &mut self,
                bucket: Resource<OpenStore>,
                key: String,
                value: Vec<u8>,
            ) -> wasmtime::Result<Result<(), $of::store::Error>> {
                let name = name(self, &bucket)?;
                let op = StoreOp::Set(vec![(key, value)]);
                let given = self.capabilities.store(&name, op).await;
                Ok(given.and_then(done).map_err(Into::into))
            }

            async fn delete(
                &mut self,
                bucket: Resource<OpenStore>,
                key: String,
            ) -> wasmtime::Result<Result<(), $of::store::Error>> {
                let name = name(self, &bucket)?;
                let op = StoreOp::Delete(vec![key]);
                let given = self.capabilities.store(&name, op).await;
                Ok(given.and_then(done).map_err(Into::into))
            }

            async fn exists(
                &mut self,
                bucket: Resource<OpenStore>,
                key: String,
            ) -> wasmtime::Result<Result<bool, $of::store::Error>> {
                let name = name(self, &bucket)?;
                let given = self.capabilities.store(&name, StoreOp::Exists(key)).await;
                Ok(given.and_then(flag).map_err(Into::into))
            }

            async fn list_keys(
                &mut self,
                bucket: Resource<OpenStore>,
                cursor: Option<$of::Cursor>,
            ) -> wasmtime::Result<Result<$of::store::KeyResponse, $of::store::Error>> {
                let name = name(self, &bucket)?;
                let page = $of::page(&self.capabilities, &name, cursor).await;
                Ok(page.map_err(Into::into))
            }

            async fn drop(&mut self, bucket: Resource<OpenStore>) -> wasmtime::Result<()> {
                close(self, bucket)
            }
        }
    };
}

alike!(older);
alike!(newer);

/// The older draft, with what only it has.
mod older {
    pub(super) use super::of1::{atomics, batch, store};
    use super::{Capabilities, Fault, all_keys};

    pub(super) type Got = Option<(String, Vec<u8>)>;
    pub(super) type Cursor = u64;

    pub(super) fn got((key, value): (String, Option<Vec<u8>>)) -> Got {
        Some((key, value?))
    }

    /// All keys: a number can say nothing of where the next page begins while keys come and go.
    pub(super) async fn page(
        capabilities: &Capabilities,
        name: &str,
        _cursor: Option<Cursor>,
    ) -> Result<store::KeyResponse, Fault> {
        let keys = all_keys(capabilities, name).await?;
        Ok(store::KeyResponse { keys, cursor: None })
    }
}

/// The newer draft, with what only it has.
mod newer {
    pub(super) use super::of2::{atomics, batch, store};
    use super::{Capabilities, Fault, Given, KEYS_A_PAGE, StoreOp, unexpected};

    pub(super) type Got = (String, Option<Vec<u8>>);
    pub(super) type Cursor = String;

    pub(super) fn got(pair: (String, Option<Vec<u8>>)) -> Got {
        pair
    }

    pub(super) async fn page(
        capabilities: &Capabilities,
        name: &str,
        after: Option<Cursor>,
    ) -> Result<store::KeyResponse, Fault> {
        let op = StoreOp::Keys {
            after,
            limit: KEYS_A_PAGE,
        };
        match capabilities.store(name, op).await? {
            Given::Keys(keys) => {
                let is_full = keys.len() >= usize::try_from(KEYS_A_PAGE).unwrap_or(usize::MAX);
                let cursor = keys.last().filter(|_| is_full).cloned();
                Ok(store::KeyResponse { keys, cursor })
            }
            given => unexpected(&given),
        }
    }
}

async fn values(
    capabilities: &Capabilities,
    name: &str,
    keys: Vec<String>,
) -> Result<Vec<Option<Vec<u8>>>, Fault> {
    match capabilities.store(name, StoreOp::GetMany(keys)).await? {
        Given::Values(values) => Ok(values),
        given => unexpected(&given),
    }
}

async fn increment(
    capabilities: &Capabilities,
    name: &str,
    key: String,
    delta: i64,
) -> Result<i64, Fault> {
    match capabilities
        .store(name, StoreOp::Increment { key, delta })
        .await?
    {
        Given::Number(number) => Ok(number),
        given => unexpected(&given),
    }
}

impl older::atomics::Host for &mut GuestState {
    async fn increment(
        &mut self,
        bucket: Resource<OpenStore>,
        key: String,
        delta: u64,
    ) -> wasmtime::Result<Result<u64, older::store::Error>> {
        let name = name(self, &bucket)?;
        let Ok(delta) = i64::try_from(delta) else {
            let why = format!("{delta} is too much at once; allowed: {}", i64::MAX);
            return Ok(Err(older::store::Error::Other(why)));
        };
        let number = increment(&self.capabilities, &name, key, delta).await;
        Ok(match number.map(u64::try_from) {
            Ok(Ok(number)) => Ok(number),
            Ok(Err(_)) => Err(older::store::Error::Other(
                "the number is negative".to_owned(),
            )),
            Err(fault) => Err(fault.into()),
        })
    }
}

impl newer::atomics::Host for &mut GuestState {
    async fn increment(
        &mut self,
        bucket: Resource<OpenStore>,
        key: String,
        delta: i64,
    ) -> wasmtime::Result<Result<i64, newer::store::Error>> {
        let name = name(self, &bucket)?;
        let number = increment(&self.capabilities, &name, key, delta).await;
        Ok(number.map_err(Into::into))
    }

    async fn swap(
        &mut self,
        cas: Resource<Looked>,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), newer::atomics::CasError>> {
        let Looked {
            store,
            key,
            current,
        } = self.table().delete(cas)?;
        let op = StoreOp::Swap {
            key: key.clone(),
            current,
            value,
        };
        let swapped = self.capabilities.store(&store, op).await.and_then(flag);
        match swapped {
            Ok(true) => Ok(Ok(())),
            // Another came first: the guest gets what is there now, to try again.
            Ok(false) => match look(self, store, key).await? {
                Ok(cas) => Ok(Err(newer::atomics::CasError::CasFailed(cas))),
                Err(error) => Ok(Err(newer::atomics::CasError::StoreError(error))),
            },
            Err(fault) => Ok(Err(newer::atomics::CasError::StoreError(fault.into()))),
        }
    }
}

async fn look(
    state: &mut GuestState,
    store: String,
    key: String,
) -> wasmtime::Result<Result<Resource<Looked>, newer::store::Error>> {
    let given = state
        .capabilities
        .store(&store, StoreOp::Get(key.clone()))
        .await;
    match given.and_then(value) {
        Ok(current) => {
            let looked = Looked {
                store,
                key,
                current,
            };
            Ok(Ok(state.table().push(looked)?))
        }
        Err(fault) => Ok(Err(fault.into())),
    }
}

impl newer::atomics::HostCas for &mut GuestState {
    async fn new(
        &mut self,
        bucket: Resource<OpenStore>,
        key: String,
    ) -> wasmtime::Result<Result<Resource<Looked>, newer::store::Error>> {
        let name = name(self, &bucket)?;
        look(self, name, key).await
    }

    async fn current(
        &mut self,
        cas: Resource<Looked>,
    ) -> wasmtime::Result<Result<Option<Vec<u8>>, newer::store::Error>> {
        Ok(Ok(self.table().get(&cas)?.current.clone()))
    }

    async fn drop(&mut self, cas: Resource<Looked>) -> wasmtime::Result<()> {
        self.table().delete(cas)?;
        Ok(())
    }
}
