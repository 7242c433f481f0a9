//! What the guests of a module may call beyond clocks, random bytes and their own request, and on whose account.

use std::sync::Arc;
use std::time::Instant;

use super::services::Services;
use crate::link::ModuleGrants;
use crate::link::services::{Ask, Fault, Given, StoreOp};
use crate::quota::Tenant;

/// Of one module of one tenant; shared by all its guests.
pub struct Capabilities {
    tenant: Arc<Tenant>,
    module: Arc<str>,
    grants: ModuleGrants,
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
            grants,
            services,
        }
    }

    /// What was granted.
    #[must_use]
    pub fn grants(&self) -> &ModuleGrants {
        &self.grants
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
