//! SQL databases: every tenant has one called `default` until it is removed, and a statement gives itself.

use control_api::error::PlaneError;
use control_api::view::*;
use edge_config::{StoreName, TenantName};

use super::state::{Result, State, page};

impl State {
    pub(super) fn databases(
        &self,
        tenant: &TenantName,
        request: &PageRequest,
    ) -> Result<Page<Database>> {
        let there = self.owner(tenant)?.databases.iter();
        let shown = there.map(|name| {
            let (name, bytes) = (name.to_string(), 4096);
            (name.clone(), Database { name, bytes })
        });
        let shown: Vec<_> = shown.collect();
        let pairs = shown.iter().map(|(name, shown)| (name, shown.clone()));
        Ok(page(pairs, request))
    }

    pub(super) fn delete_database(
        &mut self,
        tenant: &TenantName,
        database: &StoreName,
    ) -> Result<()> {
        if self.owner_mut(tenant)?.databases.remove(database) {
            return Ok(());
        }
        Err(not_found(tenant, database))
    }

    pub(super) fn query_database(
        &self,
        tenant: &TenantName,
        database: &StoreName,
        query: SqlQuery,
    ) -> Result<SqlResult> {
        if !self.owner(tenant)?.databases.contains(database) {
            return Err(not_found(tenant, database));
        }
        Ok(SqlResult {
            columns: vec!["statement".to_owned()],
            rows: vec![vec![SqlValue::Text(query.statement)]],
            last_insert_rowid: 0,
            changes: 0,
        })
    }
}

fn not_found(tenant: &TenantName, database: &StoreName) -> PlaneError {
    PlaneError::DatabaseNotFound {
        tenant: tenant.clone(),
        database: database.clone(),
    }
}
