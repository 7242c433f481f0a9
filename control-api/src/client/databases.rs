//! Calls about tenants' SQL databases.

use edge_config::{StoreName, TenantName};
use http::Method;

use super::{Client, ClientError};
use crate::view::{Database, Page, PageRequest, Precondition, SqlQuery, SqlResult};

impl Client {
    /// A tenant's databases in order of name.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn databases(
        &self,
        tenant: &TenantName,
        page: &PageRequest,
    ) -> Result<Page<Database>, ClientError> {
        let path = ["v1", "tenants", tenant.as_ref(), "databases"];
        self.get_page(&path, page).await
    }

    /// Removes a database.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn delete_database(
        &self,
        tenant: &TenantName,
        database: &StoreName,
    ) -> Result<(), ClientError> {
        let path = [
            "v1",
            "tenants",
            tenant.as_ref(),
            "databases",
            database.as_ref(),
        ];
        self.delete(&path, Precondition::None).await
    }

    /// Carries out one statement on a database.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn query_database(
        &self,
        tenant: &TenantName,
        database: &StoreName,
        query: &SqlQuery,
    ) -> Result<SqlResult, ClientError> {
        let path = [
            "v1",
            "tenants",
            tenant.as_ref(),
            "databases",
            database.as_ref(),
            "query",
        ];
        let request = self.request(Method::POST, &path)?;
        let answer = self.send(request.json(query)).await?;
        self.json(answer).await
    }
}
