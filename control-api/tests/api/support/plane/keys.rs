//! Publishers' keys.

use control_api::error::PlaneError;
use control_api::plane::Caller;
use control_api::view::*;
use edge_config::{KeyId, TenantName};

use super::state::{Result, State, holds, page, room};

impl State {
    pub(super) fn keys(
        &self,
        tenant: &TenantName,
        request: &PageRequest,
    ) -> Result<Page<PublisherKey>> {
        let keys = self.owner(tenant)?.keys.iter();
        Ok(page(
            keys.map(|(kid, key)| (kid, key.value.clone())),
            request,
        ))
    }

    pub(super) fn key(&self, tenant: &TenantName, kid: &KeyId) -> Result<Revised<PublisherKey>> {
        let key = self.owner(tenant)?.keys.get(kid).cloned();
        key.ok_or_else(|| PlaneError::KeyNotFound {
            tenant: tenant.clone(),
            kid: kid.clone(),
        })
    }

    pub(super) fn put_key(
        &mut self,
        tenant: &TenantName,
        kid: &KeyId,
        jwk: PublicJwk,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<(Revised<PublisherKey>, Written)> {
        let owner = self.owner(tenant)?;
        let there = owner.keys.get(kid);
        holds(precondition, there.map(|key| key.revision))?;
        let written = match there {
            Some(key) if key.value.jwk == jwk => return Ok((key.clone(), Written::Unchanged)),
            Some(_) => Written::Updated,
            None => {
                let most = owner.limits()?.publisher_keys_max;
                room("publisher_keys_max", most, owner.keys.len())?;
                Written::Created
            }
        };
        let key = Revised {
            revision: self.record(caller, "key.put", tenant, kid.to_string()),
            value: PublisherKey {
                kid: kid.clone(),
                jwk,
                added_at: self.now,
            },
        };
        let keys = &mut self.owner_mut(tenant)?.keys;
        keys.insert(kid.clone(), key.clone());
        Ok((key, written))
    }

    pub(super) fn delete_key(
        &mut self,
        tenant: &TenantName,
        kid: &KeyId,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<()> {
        holds(precondition, Some(self.key(tenant, kid)?.revision))?;
        self.owner_mut(tenant)?.keys.remove(kid);
        self.record(caller, "key.delete", tenant, kid.to_string());
        Ok(())
    }
}
