//! Calls about what guests keep.

use bytes::Bytes;
use edge_config::{StoreName, TenantName};
use http::Method;

use super::{Client, ClientError};
use crate::view::{Page, PageRequest, Precondition, StoreKey};

impl Client {
    /// A store's keys in order.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn store_keys(
        &self,
        tenant: &TenantName,
        store: &StoreName,
        page: &PageRequest,
    ) -> Result<Page<StoreKey>, ClientError> {
        let path = [
            "v1",
            "tenants",
            tenant.as_ref(),
            "stores",
            store.as_ref(),
            "keys",
        ];
        self.get_page(&path, page).await
    }

    /// The value of a key.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn store_value(
        &self,
        tenant: &TenantName,
        store: &StoreName,
        key: &str,
    ) -> Result<Vec<u8>, ClientError> {
        let request = self.request(Method::GET, &value_path(tenant, store, key))?;
        let answer = self.send(request).await?;
        self.body(answer).await
    }

    /// Sets a key to a value.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn put_store_value(
        &self,
        tenant: &TenantName,
        store: &StoreName,
        key: &str,
        value: Bytes,
    ) -> Result<(), ClientError> {
        let request = self.request(Method::PUT, &value_path(tenant, store, key))?;
        self.send(request.body(value)).await.map(drop)
    }

    /// Removes a key.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn delete_store_value(
        &self,
        tenant: &TenantName,
        store: &StoreName,
        key: &str,
    ) -> Result<(), ClientError> {
        self.delete(&value_path(tenant, store, key), Precondition::None)
            .await
    }
}

fn value_path<'a>(tenant: &'a TenantName, store: &'a StoreName, key: &'a str) -> [&'a str; 7] {
    let (tenant, store) = (tenant.as_ref(), store.as_ref());
    ["v1", "tenants", tenant, "stores", store, "keys", key]
}
