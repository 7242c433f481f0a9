//! Calls about the node.

use super::{Client, ClientError};
use reqwest::Method;

use crate::view::{AuditEntry, NodeInfo, NodeStatus, Page, PageRequest, Reloaded, Upgraded};

impl Client {
    /// Whether the process answers.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn alive(&self) -> Result<(), ClientError> {
        self.get_text(&["healthz"]).await.map(drop)
    }

    /// Whether guests would be served now.
    ///
    /// # Errors
    /// [`ClientError::Problem`] with what is missing, where they would not.
    pub async fn ready(&self) -> Result<(), ClientError> {
        self.get_text(&["readyz"]).await.map(drop)
    }

    /// The Prometheus text exposition.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn metrics(&self) -> Result<String, ClientError> {
        self.get_text(&["metrics"]).await
    }

    /// The node's OpenAPI document.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn openapi(&self) -> Result<serde_json::Value, ClientError> {
        self.get(&["v1", "openapi.json"]).await
    }

    /// The node's name and where it serves; any scope will do.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn node(&self) -> Result<NodeInfo, ClientError> {
        self.get(&["v1", "node"]).await
    }

    /// The node's own figures.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn status(&self) -> Result<NodeStatus, ClientError> {
        self.get(&["v1", "status"]).await
    }

    /// Has the node read its configuration anew.
    ///
    /// # Errors
    /// [`ClientError::Problem`] with what is refused, where nothing was applied.
    pub async fn reload(&self) -> Result<Reloaded, ClientError> {
        let answer = self
            .send(self.request(Method::POST, &["v1", "node", "reload"])?)
            .await?;
        self.json(answer).await
    }

    /// Has the node's program on its disk take over.
    ///
    /// # Errors
    /// [`ClientError::Problem`] with why not, where the node goes on as it was.
    pub async fn upgrade(&self) -> Result<Upgraded, ClientError> {
        let answer = self
            .send(self.request(Method::POST, &["v1", "node", "upgrade"])?)
            .await?;
        self.json(answer).await
    }

    /// Changes, newest first.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn audit(&self, page: &PageRequest) -> Result<Page<AuditEntry>, ClientError> {
        self.get_page(&["v1", "audit"], page).await
    }
}
