//! What the guests of a module may call beyond clocks, random bytes and their own request, and on whose account.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use super::outbound::{Outbound, Trust};
use super::services::Services;
use crate::link::ModuleGrants;
use crate::link::services::{Ask, Fault, Given, StoreOp, Unconnected};
use crate::quota::Tenant;

/// Of one module of one tenant; shared by all its guests.
pub struct Capabilities {
    tenant: Arc<Tenant>,
    module: Arc<str>,
    grants: ModuleGrants,
    outbound: Option<Box<Outbound>>,
    services: Arc<Services>,
}

impl Capabilities {
    /// What `grants` say, for a module of this tenant.
    #[must_use]
    pub fn new(
        tenant: Arc<Tenant>,
        module: Arc<str>,
        grants: ModuleGrants,
        services: Arc<Services>,
    ) -> Self {
        Self {
            tenant,
            module,
            outbound: Outbound::new(&grants.outbound),
            grants,
            services,
        }
    }

    /// What was granted.
    #[must_use]
    pub fn grants(&self) -> &ModuleGrants {
        &self.grants
    }

    /// Whose account it is.
    pub(super) fn tenant(&self) -> &Arc<Tenant> {
        &self.tenant
    }

    /// Where they may send requests; nothing where nothing was granted.
    pub(super) fn outbound(&self) -> Option<&Outbound> {
        self.outbound.as_deref()
    }

    /// Whom their TLS believes.
    pub(super) fn trust(&self) -> &Trust {
        self.services.trust()
    }

    /// Asks for a connection.
    pub(super) async fn connect(&self, ask: Ask) -> Result<Result<OwnedFd, Unconnected>, Fault> {
        self.services
            .connect(self.tenant.name(), &self.module, ask)
            .await
    }

    /// Asks for the addresses of a name.
    pub(super) async fn resolve(
        &self,
        ask: Ask,
    ) -> Result<Result<Vec<IpAddr>, Unconnected>, Fault> {
        self.services
            .resolve(self.tenant.name(), &self.module, ask)
            .await
    }

    /// Whether the module may open this key-value store.
    pub(super) fn may_open(&self, store: &str) -> bool {
        self.grants.key_value.iter().any(|granted| granted == store)
    }

    /// Calls a store that was opened.
    pub(super) async fn store(&self, store: &str, op: StoreOp) -> Result<Given, Fault> {
        if let Some(wait) = self.tenant.store_wait(Instant::now()) {
            return Err(Fault::Refused(format!(
                "more key-value calls than the tenant may make each second; the next is possible in {} ms",
                wait.as_millis().max(1)
            )));
        }
        let ask = Ask::Store {
            store: store.to_owned(),
            op,
        };
        self.call(ask).await
    }

    /// The value of a variable.
    pub(super) async fn variable(&self, name: &str) -> Result<Given, Fault> {
        self.may_ask_for_variables()?;
        let ask = Ask::Variable {
            name: name.to_owned(),
        };
        self.call(ask).await
    }

    /// All variables that the module may read.
    pub(super) async fn variables(&self) -> Result<Given, Fault> {
        self.may_ask_for_variables()?;
        self.call(Ask::Variables).await
    }

    /// Counts like a call of a store: both are control's work.
    fn may_ask_for_variables(&self) -> Result<(), Fault> {
        match self.tenant.store_wait(Instant::now()) {
            None => Ok(()),
            Some(wait) => Err(Fault::Refused(format!(
                "more calls for variables than the tenant may make each second; the next is possible in {} ms",
                wait.as_millis().max(1)
            ))),
        }
    }

    async fn call(&self, ask: Ask) -> Result<Given, Fault> {
        self.services
            .call(self.tenant.name(), &self.module, ask)
            .await
    }
}
