//! Connections by client address.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Parts of the table, each with a lock of its own: threads that accept at the same time seldom meet.
const SHARDS: usize = 16;

/// How many connections each client has open. As large as there are connections.
#[derive(Debug)]
pub(super) struct Clients {
    shards: [Mutex<HashMap<Network, u32>>; SHARDS],
    hasher: RandomState,
    most: u32,
}

/// A client: an IPv4 address, or the /64 that an IPv6 client picks its addresses from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Network {
    V4(u32),
    V6(u64),
}

/// One connection of a client, taken off on drop.
#[derive(Debug)]
pub(super) struct ClientPlace {
    clients: Arc<Clients>,
    network: Network,
}

impl Network {
    fn of(client: IpAddr) -> Self {
        match client.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => Self::V6(u64::try_from(address.to_bits() >> 64).unwrap_or(0)),
        }
    }
}

impl Clients {
    /// At most `most` connections a client.
    pub(super) fn new(most: u32) -> Arc<Self> {
        Arc::new(Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
            most,
        })
    }

    /// Counts a connection; `None` if the client has as many as it may.
    pub(super) fn enter(self: &Arc<Self>, client: IpAddr) -> Option<ClientPlace> {
        let network = Network::of(client);
        let mut shard = self.shard(network);
        let count = shard.entry(network).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(ClientPlace {
            clients: Arc::clone(self),
            network,
        })
    }

    fn shard(&self, network: Network) -> MutexGuard<'_, HashMap<Network, u32>> {
        let at = usize::try_from(self.hasher.hash_one(network) % SHARDS as u64).unwrap_or(0);
        #[expect(
            clippy::indexing_slicing,
            reason = "a remainder of the array's own length"
        )]
        let shard = &self.shards[at];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ClientPlace {
    fn drop(&mut self) {
        let mut shard = self.clients.shard(self.network);
        if let Some(count) = shard.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                shard.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_its_own_number_and_leaves_nothing_behind() {
        let clients = Clients::new(2);
        let [one, other]: [IpAddr; 2] = ["192.0.2.1", "192.0.2.2"].map(|ip| ip.parse().unwrap());
        let places: Vec<_> = (0..2).map(|_| clients.enter(one).unwrap()).collect();
        assert!(clients.enter(one).is_none());
        assert!(clients.enter(other).is_some());
        drop(places);
        assert!(clients.enter(one).is_some());
        let left: usize = clients
            .shards
            .iter()
            .map(|shard| shard.lock().unwrap().len())
            .sum();
        assert_eq!(left, 0);
    }

    #[test]
    fn an_ipv6_client_is_its_network_and_a_mapped_one_its_ipv4_address() {
        let clients = Clients::new(1);
        let enter = |ip: &str| clients.enter(ip.parse().unwrap());
        let _one = enter("2001:db8::1").unwrap();
        assert!(enter("2001:db8::ffff:0:1").is_none());
        assert!(enter("2001:db8:0:1::1").is_some());
        let _four = enter("192.0.2.1").unwrap();
        assert!(enter("::ffff:192.0.2.1").is_none());
    }
}
