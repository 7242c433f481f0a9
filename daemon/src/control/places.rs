//! Who may send a component now.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use control_api::error::PlaneError;
use edge_config::TenantName;

use super::upload::BUSY_RETRY_AFTER_S;

/// Places for uploads that are being received: so many on the node, and no more than half of them to any tenant, so
/// that one whose clients are slow holds up no other.
pub(super) struct UploadPlaces {
    taken: Mutex<HashMap<TenantName, u64>>,
    node_max: u64,
    tenant_max: u64,
}

/// A place, until dropped.
pub(super) struct UploadPlace<'a> {
    places: &'a UploadPlaces,
    tenant: TenantName,
}

impl UploadPlaces {
    pub(super) fn new(node_max: u32) -> Self {
        let node_max = u64::from(node_max.max(1));
        Self {
            taken: Mutex::default(),
            node_max,
            tenant_max: node_max.div_ceil(2),
        }
    }

    /// Takes a place.
    ///
    /// # Errors
    /// [`PlaneError::UploadsBusy`], of the tenant or of the node.
    pub(super) fn take(&self, tenant: &TenantName) -> Result<UploadPlace<'_>, PlaneError> {
        let busy = |whose, concurrent_max| PlaneError::UploadsBusy {
            whose,
            concurrent_max,
            retry_after_s: BUSY_RETRY_AFTER_S,
        };
        let mut taken = self.lock();
        if taken.get(tenant).is_some_and(|own| *own >= self.tenant_max) {
            return Err(busy("a tenant", self.tenant_max));
        }
        if taken.values().sum::<u64>() >= self.node_max {
            return Err(busy("this node", self.node_max));
        }
        *taken.entry(tenant.clone()).or_default() += 1;
        Ok(UploadPlace {
            places: self,
            tenant: tenant.clone(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TenantName, u64>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for UploadPlace<'_> {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        if let Some(own) = taken.get_mut(&self.tenant) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(places: &UploadPlaces, tenant: &TenantName) -> String {
        places.take(tenant).err().unwrap().to_string()
    }

    #[test]
    fn no_tenant_has_more_than_half_of_the_places() {
        let places = UploadPlaces::new(4);
        let [one, two, three]: [TenantName; 3] =
            ["one", "two", "three"].map(|n| n.parse().unwrap());
        let held = [(); 2].map(|()| places.take(&one).unwrap());
        assert_eq!(
            refused(&places, &one),
            "2 uploads are already under way, the most a tenant has at once"
        );
        let others = [(); 2].map(|()| places.take(&two).unwrap());
        assert_eq!(
            refused(&places, &three),
            "4 uploads are already under way, the most this node has at once"
        );
        drop(held);
        assert!(places.take(&three).is_ok() && places.take(&one).is_ok());
        drop(others);
        assert!(places.lock().is_empty());
    }

    #[test]
    fn a_single_place_is_anybodys() {
        let places = UploadPlaces::new(1);
        let one = "one".parse().unwrap();
        let _held = places.take(&one).unwrap();
        assert!(places.take(&one).is_err());
    }
}
