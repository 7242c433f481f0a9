//! What the guests of a module may call beyond clocks, random bytes and their own request, and on whose account.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Semaphore;

use super::outbound::{Outbound, Trust};
use super::services::Services;
use super::sql::Connection;
use crate::link::ModuleGrants;
use crate::link::services::{Ask, Fault, Given, StoreOp, Unconnected};
use crate::link::sql::{SqlFault, SqlOp};
use crate::quota::Tenant;

/// Of one module of one tenant; shared by all its guests.
pub struct Capabilities {
    tenant: Arc<Tenant>,
    module: Arc<str>,
    grants: ModuleGrants,
    outbound: Option<Box<Outbound>>,
    services: Arc<Services>,
    /// Calls of stores under way: a value lies in the worker's memory until its guest takes it, and guests of 0.3 can have
    /// thousands of calls under way at once.
    calls: Semaphore,
    /// Connections to databases that are being opened: while other tenants have all processes, that takes as long as a
    /// statement may, and what waits has a place that the node's guests share.
    opening: Semaphore,
}

/// Calls of stores under way at once, of all guests of a module; those that can be large count for several.
const CALLS_MAX: u32 = 64;
/// Connections to databases that are opened at once, of all guests of a module.
const OPENING_MAX: usize = 8;
/// What one of those calls may move, in bytes.
const CALL_BYTES: usize = 1 << 20;
/// What a call for several values counts for.
const MANY: u32 = 8;

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
            calls: Semaphore::const_new(CALLS_MAX as usize),
            opening: Semaphore::const_new(OPENING_MAX),
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

    /// A connection to a database, where the module may open it: its calls are [`Connection::call`]'s.
    ///
    /// # Errors
    /// [`SqlFault`]
    ///
    /// # Cancel safety
    /// Dropped, the connection is closed should it still be opened.
    pub(super) async fn open_database(&self, database: String) -> Result<Connection, SqlFault> {
        if !self.grants.databases.contains(&database) {
            return Err(SqlFault::AccessDenied);
        }
        self.may_execute()?;
        let opening = self.opening.acquire().await;
        let _opening = opening.map_err(|_| SqlFault::Io("the node is going down".to_owned()))?;
        let module = Arc::clone(&self.module);
        let connection = Connection::new(Arc::clone(&self.services), &self.tenant, module);
        connection.call(SqlOp::Open { database }).await?;
        Ok(connection)
    }

    /// Counts like a call of a store: both are control's work.
    ///
    /// # Errors
    /// [`SqlFault::Io`] where there were too many.
    pub(super) fn may_execute(&self) -> Result<(), SqlFault> {
        match self.tenant.store_wait(Instant::now()) {
            None => Ok(()),
            Some(wait) => Err(SqlFault::Io(format!(
                "more calls of databases than the tenant may make each second; the next is possible in {} ms",
                wait.as_millis().max(1)
            ))),
        }
    }

    /// Calls a store that was opened.
    pub(super) async fn store(&self, store: &str, op: StoreOp) -> Result<Given, Fault> {
        if let Some(wait) = self.tenant.store_wait(Instant::now()) {
            return Err(Fault::Refused(format!(
                "more key-value calls than the tenant may make each second; the next is possible in {} ms",
                wait.as_millis().max(1)
            )));
        }
        let is_many = matches!(op, StoreOp::GetMany(_));
        let ask = Ask::Store {
            store: store.to_owned(),
            op,
        };
        let by_size = u32::try_from(ask.bytes() / CALL_BYTES).unwrap_or(CALLS_MAX);
        let weight = if is_many { MANY } else { 1 + by_size };
        let _places = self
            .calls
            .acquire_many(weight.min(CALLS_MAX))
            .await
            .map_err(|_| Fault::Unavailable("the node is going down".to_owned()))?;
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

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;
    use crate::quota::tests::tenant_of_tests;

    #[test]
    fn calls_under_way_are_bounded_and_large_ones_count_for_several() {
        let (services, mut asked) = Services::new(Trust::default());
        let capabilities = Capabilities::new(
            tenant_of_tests(),
            "module".into(),
            ModuleGrants::default(),
            services,
        );
        let mut cx = Context::from_waker(Waker::noop());
        let get = || StoreOp::Get("key".to_owned());
        let many = || StoreOp::GetMany(vec!["key".to_owned()]);
        let large = || StoreOp::Set(vec![("key".to_owned(), vec![0; 3 * CALL_BYTES])]);
        // The tenant of tests may make ten calls a second: 7 x 8, 1 x 4 and 2 are 62 of 64 places; one more has none.
        let mut waiting: Vec<_> = Vec::new();
        for op in [
            many(),
            many(),
            many(),
            many(),
            many(),
            many(),
            many(),
            large(),
            get(),
            get(),
        ] {
            let mut call = Box::pin(capabilities.store("default", op));
            assert!(call.as_mut().poll(&mut cx).is_pending());
            waiting.push(call);
        }
        let mut sent = 0;
        while asked.try_recv().is_ok() {
            sent += 1;
        }
        assert_eq!(sent, 10);
        let mut places = pin!(capabilities.calls.acquire_many(3));
        assert!(places.as_mut().poll(&mut cx).is_pending());
        waiting.pop();
        assert!(places.as_mut().poll(&mut cx).is_ready());
    }
}
