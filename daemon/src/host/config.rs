//! `wasi:config/store` in both drafts in use: a module's variables by the names that configuration has elsewhere.
//!
//! What `variables` reads one by one, with two differences that the interface makes: a key that is none is absent and no
//! error, and a guest can have all of them at once.

use wasmtime::component::Linker;

use super::capabilities::Capabilities;
use super::key_value::Guest;
use super::state::GuestState;
use crate::link::services::{Fault, Given};
use edge_config::is_variable_name;

mod draft {
    wasmtime::component::bindgen!({
        path: "wit/wasi-config-0.2.0-draft-2024-09-27",
        world: "wasi:config/host",
        imports: { default: async | trappable },
    });
}

mod rc {
    wasmtime::component::bindgen!({
        path: "wit/wasi-config-0.2.0-rc.1",
        world: "wasi:config/host",
        imports: { default: async | trappable },
    });
}

use draft::wasi::config::store as of_draft;
use rc::wasi::config::store as of_rc;

/// Adds both.
pub(super) fn add_to_linker(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    of_draft::add_to_linker::<_, Guest>(linker, |state| state)?;
    of_rc::add_to_linker::<_, Guest>(linker, |state| state)
}

/// A variable; `None` where there is none of this name, which may be one that no variable can have.
async fn get(capabilities: &Capabilities, key: &str) -> Result<Option<String>, Fault> {
    if !is_variable_name(key) {
        return Ok(None);
    }
    match capabilities.variable(key).await {
        Ok(Given::Text(value)) => Ok(Some(value)),
        Ok(_) => Err(unexpected()),
        Err(Fault::NoSuch(_)) => Ok(None),
        Err(fault) => Err(fault),
    }
}

async fn get_all(capabilities: &Capabilities) -> Result<Vec<(String, String)>, Fault> {
    match capabilities.variables().await? {
        Given::Variables(all) => Ok(all),
        _ => Err(unexpected()),
    }
}

/// A fault of ours; what was given instead may be a secret, and is not repeated.
fn unexpected() -> Fault {
    Fault::Unavailable("the node gave something else than variables".to_owned())
}

macro_rules! host {
    ($of:ident) => {
        impl From<Fault> for $of::Error {
            fn from(fault: Fault) -> Self {
                match fault {
                    // Whoever keeps the configuration says no.
                    Fault::NoSuch(why) | Fault::Denied(why) => Self::Upstream(why),
                    Fault::Refused(why) | Fault::Unavailable(why) => Self::Io(why),
                }
            }
        }

        impl $of::Host for &mut GuestState {
            async fn get(
                &mut self,
                key: String,
            ) -> wasmtime::Result<Result<Option<String>, $of::Error>> {
                Ok(get(&self.capabilities, &key).await.map_err(Into::into))
            }

            async fn get_all(
                &mut self,
            ) -> wasmtime::Result<Result<Vec<(String, String)>, $of::Error>> {
                Ok(get_all(&self.capabilities).await.map_err(Into::into))
            }
        }
    };
}

host!(of_draft);
host!(of_rc);
