//! Hostnames and what is known of each, as a value that is cheap to copy and to change: one change among ten thousand
//! names copies some dozens of them.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::Arc;

/// Parts of the map; a change copies one.
const SHARDS: usize = 256;

/// A map by hostname.
#[derive(Clone)]
pub(super) struct Hosts<T> {
    shards: Arc<[Arc<Shard<T>>; SHARDS]>,
    hasher: RandomState,
}

type Shard<T> = HashMap<Arc<str>, Arc<T>, RandomState>;

impl<T> Default for Hosts<T> {
    fn default() -> Self {
        let hasher = RandomState::new();
        let empty = Arc::new(HashMap::with_hasher(hasher.clone()));
        Self {
            shards: Arc::new(std::array::from_fn(|_| Arc::clone(&empty))),
            hasher,
        }
    }
}

impl<T: Default + Clone> Hosts<T> {
    pub(super) fn get(&self, host: &str) -> Option<&Arc<T>> {
        self.shards.get(self.shard(host))?.get(host)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.shards.iter().all(|shard| shard.is_empty())
    }

    /// What is known of a hostname, to be changed.
    pub(super) fn entry(&mut self, host: &str) -> Option<&mut T> {
        let shard = self.shard(host);
        let shard = Arc::make_mut(Arc::make_mut(&mut self.shards).get_mut(shard)?);
        if !shard.contains_key(host) {
            shard.insert(host.into(), Arc::default());
        }
        shard.get_mut(host).map(Arc::make_mut)
    }

    pub(super) fn remove(&mut self, host: &str) {
        let at = self.shard(host);
        if let Some(shard) = Arc::make_mut(&mut self.shards).get_mut(at)
            && shard.contains_key(host)
        {
            Arc::make_mut(shard).remove(host);
        }
    }

    fn shard(&self, host: &str) -> usize {
        let hash = self.hasher.hash_one(host);
        // The low bits place a name within its shard.
        usize::try_from(hash >> 56).unwrap_or(0) % SHARDS
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    proptest::proptest! {
        /// A copy stays as it was, and the map says what an ordinary one does.
        #[test]
        fn it_is_a_map_whose_copies_do_not_change(
            steps in proptest::collection::vec(("[a-d]{1,3}", proptest::option::of(0_u32..9)), 0..200)
        ) {
            let (mut hosts, mut model) = (Hosts::<u32>::default(), BTreeMap::new());
            let mut before = Vec::new();
            for (host, value) in steps {
                before.push((hosts.clone(), model.clone()));
                match value {
                    Some(value) => {
                        *hosts.entry(&host).unwrap() = value;
                        model.insert(host, value);
                    }
                    None => {
                        hosts.remove(&host);
                        model.remove(&host);
                    }
                }
            }
            before.push((hosts, model));
            for (hosts, model) in before {
                proptest::prop_assert_eq!(hosts.is_empty(), model.is_empty());
                for (host, value) in model {
                    proptest::prop_assert_eq!(hosts.get(&host).map(|value| **value), Some(value));
                }
            }
        }
    }
}
