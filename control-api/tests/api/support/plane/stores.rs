//! What guests keep.

use bytes::Bytes;
use control_api::error::PlaneError;
use control_api::view::*;
use edge_config::{StoreName, TenantName};

use super::state::{Result, State, page};

/// What a key may have, as the node has it.
const KEY_BYTES_MAX: usize = 1024;

impl State {
    pub(super) fn store_keys(
        &self,
        tenant: &TenantName,
        store: &StoreName,
        request: &PageRequest,
    ) -> Result<Page<StoreKey>> {
        let kept = self.owner(tenant)?.kept.get(store);
        let keys = kept.into_iter().flatten();
        Ok(page(
            keys.map(|(key, _)| (key, StoreKey { key: key.clone() })),
            request,
        ))
    }

    pub(super) fn store_value(
        &self,
        tenant: &TenantName,
        store: &StoreName,
        key: &str,
    ) -> Result<Vec<u8>> {
        let kept = self.owner(tenant)?.kept.get(store);
        let value = kept.and_then(|kept| kept.get(key));
        let value = value.ok_or_else(|| PlaneError::StoreKeyNotFound {
            tenant: tenant.clone(),
            store: store.clone(),
        })?;
        Ok(value.to_vec())
    }

    pub(super) fn put_store_value(
        &mut self,
        tenant: &TenantName,
        store: &StoreName,
        key: &str,
        value: Bytes,
    ) -> Result<Written> {
        if !(1..=KEY_BYTES_MAX).contains(&key.len()) {
            return Err(PlaneError::InvalidValue {
                field: "key".to_owned(),
                why: format!("it has {} bytes; allowed: 1 to {KEY_BYTES_MAX}", key.len()),
            });
        }
        let kept = self.owner_mut(tenant)?.kept.entry(store.clone());
        Ok(match kept.or_default().insert(key.to_owned(), value) {
            Some(_) => Written::Updated,
            None => Written::Created,
        })
    }

    pub(super) fn delete_store_value(
        &mut self,
        tenant: &TenantName,
        store: &StoreName,
        key: &str,
    ) -> Result<()> {
        self.store_value(tenant, store, key)?;
        if let Some(kept) = self.owner_mut(tenant)?.kept.get_mut(store) {
            kept.remove(key);
        }
        Ok(())
    }
}
