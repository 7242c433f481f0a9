//! `fermyon:spin/variables@2.0.0`, `spin:variables/variables@3.0.0`: a module's variables, of which some are secrets.
//!
//! Asked of control at each call: a worker keeps none, and a change holds from the next call on.

use std::sync::Arc;

use edge_config::{VARIABLE_NAMES, is_variable_name};
use wasmtime::component::{Accessor, Linker};

use super::capabilities::Capabilities;
use super::key_value::{Guest, v2};
use super::state::GuestState;
use crate::link::services::{Fault, Given};

mod v3 {
    wasmtime::component::bindgen!({
        path: "wit/spin-variables-3.0.0",
        world: "spin:variables/host",
        imports: { default: store | trappable },
    });
}

use v2::fermyon::spin::variables as of2;
use v3::spin::variables::variables as of3;

/// Adds both.
pub(super) fn add_to_linker(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    of2::add_to_linker::<_, Guest>(linker, |state| state)?;
    of3::add_to_linker::<_, Guest>(linker, |state| state)
}

/// Why a guest gets no value.
enum NotGiven {
    InvalidName(String),
    Undefined(String),
    Unavailable(String),
}

async fn get(capabilities: &Capabilities, name: &str) -> Result<String, NotGiven> {
    if !is_variable_name(name) {
        let why = format!("{name:?} is no name of a variable; allowed: {VARIABLE_NAMES}");
        return Err(NotGiven::InvalidName(why));
    }
    match capabilities.variable(name).await {
        Ok(Given::Text(value)) => Ok(value),
        // What was given instead may be a secret, and is not repeated.
        Ok(_) => Err(NotGiven::Unavailable(
            "the node gave something else than a variable".to_owned(),
        )),
        Err(Fault::NoSuch(why) | Fault::Denied(why)) => Err(NotGiven::Undefined(why)),
        Err(Fault::Refused(why) | Fault::Unavailable(why)) => Err(NotGiven::Unavailable(why)),
    }
}

impl From<NotGiven> for of2::Error {
    fn from(why: NotGiven) -> Self {
        match why {
            NotGiven::InvalidName(why) => Self::InvalidName(why),
            NotGiven::Undefined(why) => Self::Undefined(why),
            NotGiven::Unavailable(why) => Self::Provider(why),
        }
    }
}

impl From<NotGiven> for of3::Error {
    fn from(why: NotGiven) -> Self {
        match why {
            NotGiven::InvalidName(why) => Self::InvalidName(why),
            NotGiven::Undefined(why) => Self::Undefined(why),
            NotGiven::Unavailable(why) => Self::Provider(why),
        }
    }
}

impl of2::Host for &mut GuestState {
    async fn get(&mut self, name: String) -> wasmtime::Result<Result<String, of2::Error>> {
        Ok(get(&self.capabilities, &name).await.map_err(Into::into))
    }
}

impl of3::Host for &mut GuestState {}

impl<T: Send> of3::HostWithStore<T> for Guest {
    async fn get(
        accessor: &Accessor<T, Self>,
        name: String,
    ) -> wasmtime::Result<Result<String, of3::Error>> {
        let capabilities = accessor.with(|mut access| Arc::clone(&access.get().capabilities));
        Ok(get(&capabilities, &name).await.map_err(Into::into))
    }
}
