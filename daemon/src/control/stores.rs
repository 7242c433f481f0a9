//! What guests keep, for those who ask from outside.

use bytes::Bytes;
use control_api::error::PlaneError;
use control_api::plane::Caller;
use control_api::view::{Page, PageRequest, StoreKey, Written};
use edge_config::{StoreName, TenantName};
use tokio::sync::oneshot;

use super::plane::tenant_in;
use super::{Control, blocking};
use crate::link::services::{Fault, Given, StoreOp};

impl Control {
    /// A page of a store's keys.
    ///
    /// # Errors
    /// [`PlaneError::TenantNotFound`], and where the disk fails.
    pub(super) async fn store_keys(
        &self,
        tenant: &TenantName,
        store: &StoreName,
        page: PageRequest,
    ) -> Result<Page<StoreKey>, PlaneError> {
        let PageRequest { after, limit } = page;
        // One more tells whether there are more.
        let wanted = u32::try_from(limit.saturating_add(1)).unwrap_or(u32::MAX);
        let op = StoreOp::Keys {
            after,
            limit: wanted,
        };
        let Given::Keys(mut keys) = self.read_store(tenant, store, op).await? else {
            return Err(PlaneError::StoreUnavailable);
        };
        let more = keys.len() > limit;
        keys.truncate(limit);
        Ok(Page {
            next_after: keys.last().filter(|_| more).cloned(),
            items: keys.into_iter().map(|key| StoreKey { key }).collect(),
        })
    }

    /// The value of a key.
    ///
    /// # Errors
    /// [`PlaneError::TenantNotFound`], [`PlaneError::StoreKeyNotFound`], and where the disk fails.
    pub(super) async fn store_value(
        &self,
        tenant: &TenantName,
        store: &StoreName,
        key: &str,
    ) -> Result<Vec<u8>, PlaneError> {
        let op = StoreOp::Get(key.to_owned());
        match self.read_store(tenant, store, op).await? {
            Given::Value(Some(value)) => Ok(value),
            _ => Err(PlaneError::StoreKeyNotFound {
                tenant: tenant.clone(),
                store: store.clone(),
            }),
        }
    }

    /// Sets a key, within what the tenant may keep.
    ///
    /// # Errors
    /// [`PlaneError::TenantNotFound`], [`PlaneError::InvalidValue`] for what a guest could not set either, and where the
    /// disk fails.
    pub(super) async fn put_store_value(
        &self,
        tenant: &TenantName,
        store: &StoreName,
        key: &str,
        value: Bytes,
        caller: &Caller,
    ) -> Result<Written, PlaneError> {
        let there = self.read_store(tenant, store, StoreOp::Exists(key.to_owned()));
        let there = there.await? == Given::Flag(true);
        let op = StoreOp::Set(vec![(key.to_owned(), value.to_vec())]);
        self.write_store("store.set", tenant, store, op, caller)
            .await?;
        Ok(if there {
            Written::Updated
        } else {
            Written::Created
        })
    }

    /// Removes a key.
    ///
    /// # Errors
    /// [`PlaneError::TenantNotFound`], [`PlaneError::StoreKeyNotFound`], and where the disk fails.
    pub(super) async fn delete_store_value(
        &self,
        tenant: &TenantName,
        store: &StoreName,
        key: &str,
        caller: &Caller,
    ) -> Result<(), PlaneError> {
        let there = StoreOp::Exists(key.to_owned());
        if self.read_store(tenant, store, there).await? != Given::Flag(true) {
            return Err(PlaneError::StoreKeyNotFound {
                tenant: tenant.clone(),
                store: store.clone(),
            });
        }
        let op = StoreOp::Delete(vec![key.to_owned()]);
        self.write_store("store.delete", tenant, store, op, caller)
            .await
    }

    async fn read_store(
        &self,
        tenant: &TenantName,
        store: &StoreName,
        op: StoreOp,
    ) -> Result<Given, PlaneError> {
        tenant_in(&self.read(), tenant)?;
        let me = self.me();
        let (tenant, store) = (tenant.clone(), store.clone());
        blocking(move || {
            let me = me.ok_or_else(|| Fault::Unavailable("the node is going down".to_owned()))?;
            let reader = me.storage.reader()?;
            let read = reader.read(tenant.as_str(), store.as_str(), &op);
            read.unwrap_or_else(|| Err(Fault::Refused("a write is not for a reader".to_owned())))
        })
        .await?
        .map_err(refused)
    }

    async fn write_store(
        &self,
        action: &str,
        tenant: &TenantName,
        store: &StoreName,
        op: StoreOp,
        caller: &Caller,
    ) -> Result<(), PlaneError> {
        if self.is_draining() {
            return Err(PlaneError::Draining);
        }
        let allowed =
            self.allowance(tenant.as_str())
                .ok_or_else(|| PlaneError::TenantNotFound {
                    tenant: tenant.clone(),
                })?;
        // What guests write is in no audit log; what an operator writes in their place is at least in the node's.
        tracing::info!(
            who = caller.who,
            action,
            tenant = tenant.as_str(),
            store = store.as_str(),
            request_id = caller.request_id,
            "change"
        );
        let me = self.me();
        let (sender, done) = oneshot::channel();
        let (tenant, store) = (tenant.clone(), store.clone());
        blocking(move || {
            let tell = move |outcome| drop(sender.send(outcome));
            if let Some(me) = me {
                let storage = &me.storage;
                storage.write(tenant.as_str(), store.as_str(), op, allowed, Box::new(tell));
            }
        })
        .await?;
        match done.await {
            Ok(outcome) => outcome.map(drop).map_err(refused),
            Err(_) => Err(PlaneError::StoreUnavailable),
        }
    }
}

fn refused(fault: Fault) -> PlaneError {
    match fault {
        Fault::Refused(why) | Fault::Denied(why) | Fault::NoSuch(why) => PlaneError::InvalidValue {
            field: "value".to_owned(),
            why,
        },
        Fault::Unavailable(_) => PlaneError::StoreUnavailable,
    }
}
