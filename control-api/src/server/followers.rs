//! How many log streams are open, of the node and of each tenant: each holds a connection for as long as it likes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use edge_config::TenantName;

use crate::problem::RequestError;

/// Counts open streams. Its table holds tenants with a stream only, so it has at most `node_max` entries.
#[derive(Debug, Clone)]
pub(super) struct Followers {
    open: Arc<Mutex<BTreeMap<TenantName, usize>>>,
    node_max: usize,
    tenant_max: usize,
}

/// One open stream; dropping it closes the count.
#[derive(Debug)]
pub(super) struct Follower {
    open: Arc<Mutex<BTreeMap<TenantName, usize>>>,
    tenant: TenantName,
}

impl Followers {
    pub(super) fn new(node_max: usize, tenant_max: usize) -> Self {
        Self {
            open: Arc::default(),
            node_max,
            tenant_max,
        }
    }

    /// Takes a place.
    ///
    /// # Errors
    /// [`RequestError::FollowersBusy`], of the node or of the tenant.
    pub(super) fn join(&self, tenant: &TenantName) -> Result<Follower, RequestError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.values().sum::<usize>() >= self.node_max {
            return Err(RequestError::FollowersBusy {
                open: self.node_max,
                whose: "the node",
            });
        }
        let count = open.entry(tenant.clone()).or_default();
        if *count >= self.tenant_max {
            return Err(RequestError::FollowersBusy {
                open: *count,
                whose: "the tenant",
            });
        }
        *count += 1;
        Ok(Follower {
            open: Arc::clone(&self.open),
            tenant: tenant.clone(),
        })
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.tenant) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_and_given_back() {
        let followers = Followers::new(3, 2);
        let (acme, other): (TenantName, TenantName) =
            ("acme".parse().unwrap(), "other".parse().unwrap());
        let first = followers.join(&acme).unwrap();
        let _second = followers.join(&acme).unwrap();
        assert!(followers.join(&acme).is_err());
        let _third = followers.join(&other).unwrap();
        assert!(followers.join(&other).is_err());
        drop(first);
        followers.join(&other).unwrap();
        assert_eq!(followers.open.lock().unwrap().len(), 2);
    }
}
