//! Calls about variables.

use edge_config::{TenantName, VariableId};

use super::{Client, ClientError, Put};
use crate::view::{Page, PageRequest, Precondition, Revised, Variable, VariableWrite};

impl Client {
    /// A tenant's variables in order of id, those of its modules among them.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn variables(
        &self,
        tenant: &TenantName,
        page: &PageRequest,
    ) -> Result<Page<Variable>, ClientError> {
        self.get_page(&["v1", "tenants", tenant.as_ref(), "variables"], page)
            .await
    }

    /// One variable; a secret without its value.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn variable(
        &self,
        tenant: &TenantName,
        variable: &VariableId,
    ) -> Result<Revised<Variable>, ClientError> {
        self.get_revised(&path(tenant, variable)).await
    }

    /// Sets a variable.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn put_variable(
        &self,
        tenant: &TenantName,
        variable: &VariableId,
        write: &VariableWrite,
        precondition: Precondition,
    ) -> Result<Put<Variable>, ClientError> {
        self.put_json(&path(tenant, variable), write, precondition)
            .await
    }

    /// Removes a variable.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn delete_variable(
        &self,
        tenant: &TenantName,
        variable: &VariableId,
        precondition: Precondition,
    ) -> Result<(), ClientError> {
        self.delete(&path(tenant, variable), precondition).await
    }
}

fn path<'a>(tenant: &'a TenantName, variable: &'a VariableId) -> [&'a str; 5] {
    [
        "v1",
        "tenants",
        tenant.as_ref(),
        "variables",
        variable.as_str(),
    ]
}
