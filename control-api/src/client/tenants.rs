//! Calls about tenants, their keys, their logs.

use edge_config::{KeyId, TenantName};
use http::Method;

use super::{Client, ClientError, LogFollower, Put};
use crate::view::{
    Holding, LogLine, Page, PageRequest, Precondition, PublicJwk, PublisherKey, Receipt, Revised,
    Tenant, TenantWrite, Usage,
};

impl Client {
    /// Tenants in order of name.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn tenants(&self, page: &PageRequest) -> Result<Page<Tenant>, ClientError> {
        self.get_page(&["v1", "tenants"], page).await
    }

    /// Tenants with all they have, in order of name; a page may have fewer than were asked for.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn holdings(&self, page: &PageRequest) -> Result<Page<Holding>, ClientError> {
        self.get_page(&["v1", "holdings"], page).await
    }

    /// One tenant.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn tenant(&self, tenant: &TenantName) -> Result<Revised<Tenant>, ClientError> {
        self.get_revised(&["v1", "tenants", tenant.as_ref()]).await
    }

    /// Makes a tenant, or replaces its settings.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn put_tenant(
        &self,
        tenant: &TenantName,
        write: &TenantWrite,
        precondition: Precondition,
    ) -> Result<Put<Tenant>, ClientError> {
        self.put_json(&["v1", "tenants", tenant.as_ref()], write, precondition)
            .await
    }

    /// Removes a tenant with everything it has.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn delete_tenant(
        &self,
        tenant: &TenantName,
        precondition: Precondition,
    ) -> Result<(), ClientError> {
        self.delete(&["v1", "tenants", tenant.as_ref()], precondition)
            .await
    }

    /// What a tenant uses.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn usage(&self, tenant: &TenantName) -> Result<Usage, ClientError> {
        self.get(&["v1", "tenants", tenant.as_ref(), "usage"]).await
    }

    /// A signed receipt of what a tenant used.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn receipt(&self, tenant: &TenantName) -> Result<Receipt, ClientError> {
        let path = ["v1", "tenants", tenant.as_ref(), "receipts"];
        let answer = self.send(self.request(Method::POST, &path)?).await?;
        self.json(answer).await
    }

    /// The newest `limit` (1 to 1000) lines of a tenant's guests after `after_seq`, oldest first.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn logs(
        &self,
        tenant: &TenantName,
        after_seq: Option<u64>,
        limit: usize,
    ) -> Result<Vec<LogLine>, ClientError> {
        let mut request = self
            .request(Method::GET, &["v1", "tenants", tenant.as_ref(), "logs"])?
            .query(&[("limit", limit)]);
        if let Some(seq) = after_seq {
            request = request.query(&[("after", seq)]);
        }
        let answer = self.send(request).await?;
        let page: Page<LogLine> = self.json(answer).await?;
        Ok(page.items)
    }

    /// As [`Client::logs`], and then every line to come.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn follow_logs(
        &self,
        tenant: &TenantName,
        after_seq: Option<u64>,
        limit: usize,
    ) -> Result<LogFollower, ClientError> {
        let mut request = self
            .open_ended(Method::GET, &["v1", "tenants", tenant.as_ref(), "logs"])?
            .query(&[("follow", "true")])
            .query(&[("limit", limit)]);
        if let Some(seq) = after_seq {
            request = request.header("last-event-id", seq);
        }
        let answer = self.send(request).await?;
        Ok(LogFollower::new(self.clone(), answer))
    }

    /// A tenant's publisher keys in order of id.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn keys(
        &self,
        tenant: &TenantName,
        page: &PageRequest,
    ) -> Result<Page<PublisherKey>, ClientError> {
        self.get_page(&["v1", "tenants", tenant.as_ref(), "keys"], page)
            .await
    }

    /// One publisher key.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn key(
        &self,
        tenant: &TenantName,
        kid: &KeyId,
    ) -> Result<Revised<PublisherKey>, ClientError> {
        self.get_revised(&["v1", "tenants", tenant.as_ref(), "keys", kid.as_str()])
            .await
    }

    /// Trusts a publisher's key.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn put_key(
        &self,
        tenant: &TenantName,
        kid: &KeyId,
        jwk: &PublicJwk,
        precondition: Precondition,
    ) -> Result<Put<PublisherKey>, ClientError> {
        let path = ["v1", "tenants", tenant.as_ref(), "keys", kid.as_str()];
        self.put_json(&path, jwk, precondition).await
    }

    /// Stops trusting a publisher's key.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn delete_key(
        &self,
        tenant: &TenantName,
        kid: &KeyId,
        precondition: Precondition,
    ) -> Result<(), ClientError> {
        let path = ["v1", "tenants", tenant.as_ref(), "keys", kid.as_str()];
        self.delete(&path, precondition).await
    }
}
