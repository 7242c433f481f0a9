//! Connections that guests ask for: judged, made, and handed over.
//!
//! Takes what a worker asks for on behalf of a module and what the module was granted; gives a connected socket, or one
//! reason. A name is resolved here, and what is connected to is the very address that was judged: there is no second
//! look-up that could answer otherwise. Never reads or writes a byte of what the guest says there.

mod addresses;
mod authorities;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use edge_config::{Hostname, IpNet, OutboundPattern};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::link::services::Unconnected;

pub(super) use authorities::AuthoritiesError;
pub(super) use authorities::authorities;

/// Names that are looked up at once, of all tenants: each takes a thread for as long as the resolver likes.
pub(super) const LOOKUPS_MAX: usize = 32;
/// Of one tenant, whose others wait within their time.
const TENANT_LOOKUPS_MAX: usize = 4;
/// Connections that are made at once, of all tenants.
const CONNECTING_MAX: usize = 512;
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;
/// The least time that one address gets where there are more, unless less is left.
const ATTEMPT_MIN: Duration = Duration::from_millis(250);

/// What a guest wants to connect to.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// What for, as grants have it: `http`, `https`, `tcp`, `redis`, `rediss`, `postgres`.
    pub(super) scheme: String,
    /// A name, or an address without brackets.
    pub(super) host: String,
    /// The port.
    pub(super) port: u16,
}

/// What one module may reach.
#[derive(Debug, Default)]
pub(super) struct Reach {
    /// By scheme, host and port.
    pub(super) outbound: Vec<OutboundPattern>,
    /// Addresses that names may lead to though they are not public.
    pub(super) networks: Vec<IpNet>,
    /// Addresses that nothing leads to, by the node's configuration.
    pub(super) never: Vec<IpNet>,
}

impl Reach {
    fn covers(&self, target: &Target, host: &str) -> bool {
        let grants = &mut self.outbound.iter();
        grants.any(|grant| grant.matches(&target.scheme, host, target.port))
    }

    /// Why nothing may be sent to an address.
    fn prohibits(&self, target: &Target, address: SocketAddr) -> Option<&'static str> {
        let ip = address.ip();
        if self.never.iter().any(|network| network.contains(ip)) {
            return Some("refused by the node's configuration");
        }
        let what = addresses::special(ip)
            .or_else(|| addresses::is_own(address).then_some("the node's own"))?;
        let text = ip.to_canonical().to_string();
        let named = self.networks.iter().any(|network| network.contains(ip))
            || self.outbound.iter().any(|grant| {
                grant.names_address(ip) && grant.matches(&target.scheme, &text, target.port)
            });
        (!named).then_some(what)
    }
}

/// Makes connections for the guests of one worker.
#[derive(Debug)]
pub(super) struct Connector {
    places: Semaphore,
    /// By tenant; those without a look-up under way are dropped at the next.
    lookups: Mutex<HashMap<String, Arc<Semaphore>>>,
}

impl Default for Connector {
    fn default() -> Self {
        Self {
            places: Semaphore::new(CONNECTING_MAX),
            lookups: Mutex::default(),
        }
    }
}

impl Connector {
    /// A connection for a module of this tenant, within `time_max`; the socket does not block. `reach` is nothing where
    /// the module is gone or was granted nothing.
    ///
    /// # Errors
    /// [`Unconnected`].
    ///
    /// # Cancel safety
    /// Dropped, nothing stays open; a look-up under way ends by itself.
    pub(super) async fn connect(
        &self,
        tenant: String,
        target: Target,
        reach: Option<Reach>,
        time_max: Duration,
    ) -> Result<OwnedFd, Unconnected> {
        let until = Instant::now() + time_max;
        let Some(reach) = reach else {
            return Err(not_granted(&target));
        };
        let host = normal_host(&target)?;
        if !reach.covers(&target, &host) {
            return Err(not_granted(&target));
        }
        let Ok(_place) = self.places.try_acquire() else {
            return Err(Unconnected::TooMany(format!(
                "{CONNECTING_MAX} connections are being made on this node already"
            )));
        };
        let late = || Unconnected::TimedOut(millis(time_max));
        let found = match host.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, target.port)],
            Err(_) => {
                let found = self.look_up(tenant, host, target.port);
                tokio::time::timeout_at(until.into(), found)
                    .await
                    .map_err(|_| late())??
            }
        };
        let allowed = judged(&reach, &target, found)?;
        one_of(&allowed, until).await.map_err(|why| match why {
            None => late(),
            Some(why) => why,
        })
    }

    /// The addresses of a name that a module may connect to, within `time_max`; which of them by what port is judged when
    /// it connects.
    ///
    /// # Errors
    /// [`Unconnected`].
    ///
    /// # Cancel safety
    /// As [`Self::connect`].
    pub(super) async fn resolve(
        &self,
        tenant: String,
        host: String,
        reach: Option<Reach>,
        time_max: Duration,
    ) -> Result<Vec<IpAddr>, Unconnected> {
        let name = host.parse::<Hostname>();
        let name = name.map_err(|error| Unconnected::NoSuchName(error.to_string()))?;
        let reach = reach.filter(|reach| {
            let mut grants = reach.outbound.iter();
            grants.any(|grant| grant.names_host(name.as_ref()))
        });
        let Some(reach) = reach else {
            return Err(Unconnected::NotGranted(format!("the name {name}")));
        };
        let found = self.look_up(tenant, name.to_string(), 0);
        let found = tokio::time::timeout(time_max, found).await;
        let found = found.map_err(|_| Unconnected::TimedOut(millis(time_max)))??;
        let allowed = found.into_iter().map(|address| address.ip()).filter(|ip| {
            !reach.never.iter().any(|network| network.contains(*ip))
                && (addresses::special(*ip).is_none()
                    || reach.networks.iter().any(|network| network.contains(*ip))
                    || reach.outbound.iter().any(|grant| grant.names_address(*ip)))
        });
        let allowed: Vec<IpAddr> = allowed.collect();
        if allowed.is_empty() {
            return Err(Unconnected::Prohibited(format!(
                "{name} leads to addresses alone that are not public; allowed: those, and those of networks that the module's grants name"
            )));
        }
        Ok(allowed)
    }

    async fn look_up(
        &self,
        tenant: String,
        host: String,
        port: u16,
    ) -> Result<Vec<SocketAddr>, Unconnected> {
        let places = {
            let mut lookups = self.lookups.lock().unwrap_or_else(PoisonError::into_inner);
            lookups.retain(|_, places| Arc::strong_count(places) > 1);
            let places = lookups.entry(tenant);
            Arc::clone(places.or_insert_with(|| Arc::new(Semaphore::new(TENANT_LOOKUPS_MAX))))
        };
        let unknown = |why: String| Unconnected::NoSuchName(why);
        let place = places.acquire_owned().await;
        let place = place.map_err(|error| unknown(error.to_string()))?;
        // The resolver cannot be told to stop: it keeps its place until it has ended, whoever still waits.
        let found = tokio::task::spawn_blocking(move || {
            let _place = place;
            let found = (host.as_str(), port).to_socket_addrs();
            found.map(|found| found.take(ADDRESSES_MAX).collect::<Vec<_>>())
        });
        match found.await {
            Ok(Ok(found)) if !found.is_empty() => Ok(found),
            Ok(Ok(_)) => Err(unknown("there is none".to_owned())),
            Ok(Err(error)) => Err(unknown(error.to_string())),
            Err(error) => Err(unknown(error.to_string())),
        }
    }
}

/// The host as grants are compared with: a name or an address in its one form.
fn normal_host(target: &Target) -> Result<String, Unconnected> {
    if let Ok(address) = target.host.parse::<IpAddr>() {
        return Ok(address.to_canonical().to_string());
    }
    match target.host.parse::<Hostname>() {
        Ok(name) => Ok(name.to_string()),
        Err(error) => Err(Unconnected::NoSuchName(error.to_string())),
    }
}

fn not_granted(target: &Target) -> Unconnected {
    let Target { scheme, host, port } = target;
    Unconnected::NotGranted(format!("{scheme}://{host}:{port}"))
}

/// The addresses that may be connected to.
fn judged(
    reach: &Reach,
    target: &Target,
    found: Vec<SocketAddr>,
) -> Result<Vec<SocketAddr>, Unconnected> {
    let (mut allowed, mut refused) = (Vec::new(), Vec::new());
    for address in found {
        match reach.prohibits(target, address) {
            None => allowed.push(address),
            Some(what) => refused.push(format!("{} ({what})", address.ip())),
        }
    }
    if allowed.is_empty() {
        return Err(Unconnected::Prohibited(format!(
            "{} leads to {} alone; allowed: public addresses, and those of networks that the module's grants name",
            target.host,
            refused.join(", ")
        )));
    }
    Ok(allowed)
}

/// Tries one address after another; `None` where the time was over first.
async fn one_of(addresses: &[SocketAddr], until: Instant) -> Result<OwnedFd, Option<Unconnected>> {
    let mut last = None;
    for (number, address) in addresses.iter().enumerate() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(None);
        }
        let others = u32::try_from(addresses.len() - number).unwrap_or(1);
        let time = (left / others).max(ATTEMPT_MIN).min(left);
        match tokio::time::timeout(time, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                return handed_over(stream).map_err(|why| Some(failed(*address, &why)));
            }
            Ok(Err(error)) => last = Some(failed(*address, &error)),
            // Of several reasons the one that says most.
            Err(_) => {}
        }
    }
    Err(last)
}

fn handed_over(stream: TcpStream) -> std::io::Result<OwnedFd> {
    stream.set_nodelay(true)?;
    Ok(stream.into_std()?.into())
}

fn failed(address: SocketAddr, error: &std::io::Error) -> Unconnected {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => Unconnected::Refused(address.to_string()),
        _ => Unconnected::Unreachable(format!("{address}: {error}")),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn reach(outbound: &[&str], named: &[&str], never: &[&str]) -> Reach {
        Reach {
            outbound: outbound.iter().map(|text| text.parse().unwrap()).collect(),
            networks: networks(named),
            never: networks(never),
        }
    }

    fn target(host: &str, port: u16) -> Target {
        Target {
            scheme: "http".to_owned(),
            host: host.to_owned(),
            port,
        }
    }

    #[test]
    fn an_address_that_is_not_public_must_be_named() {
        for (outbound, named, never, address, allowed) in [
            ("http://*", &[][..], &[][..], "8.8.8.8", true),
            ("http://*", &[], &[], "10.0.0.1", false),
            ("http://*", &["10.0.0.0/8"], &[], "10.0.0.1", true),
            ("http://*", &["10.0.0.0/8"], &[], "::ffff:10.0.0.1", true),
            ("http://*", &["10.0.0.0/8"], &[], "127.0.0.1", false),
            (
                "http://*",
                &["10.0.0.0/8"],
                &["10.0.0.0/24"],
                "10.0.0.1",
                false,
            ),
            ("http://*", &[], &["8.8.0.0/16"], "8.8.8.8", false),
            ("http://127.0.0.1", &[], &[], "127.0.0.1", true),
            ("http://127.0.0.0/8", &[], &[], "::ffff:127.0.0.1", true),
            // Granted for another port or scheme: not for this.
            ("http://127.0.0.1:81", &[], &[], "127.0.0.1", false),
            ("https://127.0.0.1:80", &[], &[], "127.0.0.1", false),
            ("http://*", &["fd00::/8"], &[], "fd00:ec2::254", true),
        ] {
            let reach = reach(&[outbound], named, never);
            let address = SocketAddr::new(address.parse().unwrap(), 80);
            let refused = reach.prohibits(&target("a.test", 80), address);
            assert_eq!(refused.is_none(), allowed, "{outbound} {named:?} {address}");
        }
    }

    #[tokio::test]
    async fn each_way_to_no_connection_has_its_reason() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap().port();
        let closed = {
            let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            gone.local_addr().unwrap().port()
        };
        let all = || Some(reach(&["http://*:*"], &["127.0.0.0/8", "::1"], &[]));
        let connector = Connector::default();
        let connect = async |host: &str, port, reach| {
            let time = Duration::from_secs(10);
            let outcome = connector.connect("acme".to_owned(), target(host, port), reach, time);
            outcome.await.map(drop)
        };
        assert_eq!(connect("127.0.0.1", open, all()).await, Ok(()));
        assert_eq!(connect("localhost", open, all()).await, Ok(()));
        assert_eq!(
            connect("127.0.0.1", open, None).await,
            Err(Unconnected::NotGranted(format!("http://127.0.0.1:{open}")))
        );
        let other = Some(reach(&["http://example.com"], &[], &[]));
        let denied = connect("localhost", open, other).await;
        assert!(
            matches!(denied, Err(Unconnected::NotGranted(_))),
            "{denied:?}"
        );
        let any = || Some(reach(&["http://*:*"], &[], &[]));
        let Err(Unconnected::Prohibited(why)) = connect("localhost", open, any()).await else {
            panic!("a name led to loopback");
        };
        assert!(
            why.starts_with("localhost leads to ") && why.contains("(loopback)"),
            "{why}"
        );
        for host in ["127.0.0.1", "::1", "::ffff:127.0.0.1", "0.0.0.0"] {
            let prohibited = connect(host, open, any()).await;
            assert!(
                matches!(prohibited, Err(Unconnected::Prohibited(_))),
                "{prohibited:?}"
            );
        }
        let refused = connect("127.0.0.1", closed, all()).await;
        assert!(
            matches!(refused, Err(Unconnected::Refused(_))),
            "{refused:?}"
        );
        for unknown in ["no-such-name.invalid", "two..dots", "0x7f.1"] {
            let unknown = connect(unknown, open, any()).await;
            assert!(
                matches!(
                    unknown,
                    Err(Unconnected::NoSuchName(_) | Unconnected::Prohibited(_))
                ),
                "{unknown:?}"
            );
        }
    }
}
