//! Which addresses a name may lead guests to.
//!
//! Public ones. All others (this host, this network, ranges that are nobody's) are there for a guest only where a grant
//! names them: a name that anybody may register must not be a way to what stands behind the node.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::LazyLock;

use edge_config::IpNet;

/// Networks that are not public, and what they are (IANA's special-purpose registries; RFC 6890).
const SPECIAL: &[(&str, &str)] = &[
    ("0.0.0.0/8", "unspecified"),
    ("10.0.0.0/8", "private"),
    ("100.64.0.0/10", "shared by carriers"),
    ("127.0.0.0/8", "loopback"),
    // What clouds answer about the machine (metadata) is under one of these two.
    ("169.254.0.0/16", "link-local"),
    ("168.63.129.16/32", "a cloud's own"),
    ("172.16.0.0/12", "private"),
    ("192.0.0.0/24", "reserved"),
    ("192.0.2.0/24", "documentation"),
    ("192.88.99.0/24", "reserved"),
    ("192.168.0.0/16", "private"),
    ("198.18.0.0/15", "benchmarking"),
    ("198.51.100.0/24", "documentation"),
    ("203.0.113.0/24", "documentation"),
    ("224.0.0.0/4", "multicast"),
    ("255.255.255.255/32", "broadcast"),
    ("240.0.0.0/4", "reserved"),
    ("::/128", "unspecified"),
    ("::1/128", "loopback"),
    // IPv4 in a form that is no longer used.
    ("::/96", "reserved"),
    ("64:ff9b:1::/48", "private"),
    ("100::/64", "discarded"),
    ("100:0:0:1::/64", "discarded"),
    // Tunnels of this kind lead to IPv4 addresses behind somebody else's translation.
    ("2001::/32", "tunnelled"),
    ("2001:2::/48", "benchmarking"),
    ("2001:db8::/32", "documentation"),
    ("2001:10::/28", "reserved"),
    ("3fff::/20", "documentation"),
    ("5f00::/16", "reserved"),
    ("fc00::/7", "private"),
    ("fe80::/10", "link-local"),
    ("fec0::/10", "private"),
    ("ff00::/8", "multicast"),
    ("4000::/2", "reserved"),
];

static NETWORKS: LazyLock<Vec<(IpNet, &str)>> = LazyLock::new(|| {
    let parsed = SPECIAL
        .iter()
        .map(|(text, what)| (text.parse().expect("a network, which a test shows"), *what));
    parsed.collect()
});

/// What an address is, where it is not a public one.
pub(super) fn special(address: IpAddr) -> Option<&'static str> {
    let address = address.to_canonical();
    let found = NETWORKS
        .iter()
        .find(|(network, _)| network.contains(address));
    if let Some((_, what)) = found {
        return Some(what);
    }
    match address {
        IpAddr::V4(_) => None,
        // Whoever translates would send it there.
        IpAddr::V6(address) => special(IpAddr::V4(inner(address)?)),
    }
}

/// The IPv4 address inside of one of NAT64 (RFC 6052 §2.1) or 6to4 (RFC 3056 §2).
fn inner(address: Ipv6Addr) -> Option<Ipv4Addr> {
    match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
            Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
        }
        _ => None,
    }
}

/// Whether an address is one of this node's: what is sent there comes from there. No packet is sent.
pub(super) fn is_own(address: SocketAddr) -> bool {
    let any: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let from = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect(address)?;
        socket.local_addr()
    });
    // Where there is no way to an address, it is not one of ours.
    from.is_ok_and(|from| from.ip() == address.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_address_is_known_for_what_it_is() {
        for (address, expected) in [
            ("8.8.8.8", None),
            ("1.0.0.1", None),
            ("172.15.255.255", None),
            ("172.32.0.0", None),
            ("100.63.255.255", None),
            ("100.128.0.0", None),
            ("223.255.255.255", None),
            ("2606:4700::1111", None),
            ("2a00:1450:4001:81b::200e", None),
            ("64:ff9b::808:808", None),
            ("2002:808:808::1", None),
            ("::ffff:8.8.8.8", None),
            ("0.0.0.0", Some("unspecified")),
            ("0.1.2.3", Some("unspecified")),
            ("10.1.2.3", Some("private")),
            ("100.64.0.1", Some("shared by carriers")),
            ("100.100.100.200", Some("shared by carriers")),
            ("127.0.0.1", Some("loopback")),
            ("127.255.255.254", Some("loopback")),
            ("169.254.169.254", Some("link-local")),
            ("168.63.129.16", Some("a cloud's own")),
            ("172.16.0.1", Some("private")),
            ("172.31.255.255", Some("private")),
            ("192.0.0.170", Some("reserved")),
            ("192.0.2.1", Some("documentation")),
            ("192.168.1.1", Some("private")),
            ("198.19.0.1", Some("benchmarking")),
            ("198.51.100.7", Some("documentation")),
            ("203.0.113.7", Some("documentation")),
            ("224.0.0.1", Some("multicast")),
            ("239.255.255.250", Some("multicast")),
            ("240.0.0.1", Some("reserved")),
            ("255.255.255.255", Some("broadcast")),
            ("::", Some("unspecified")),
            ("::1", Some("loopback")),
            ("::ffff:127.0.0.1", Some("loopback")),
            ("::ffff:169.254.169.254", Some("link-local")),
            ("::127.0.0.1", Some("reserved")),
            ("64:ff9b::7f00:1", Some("loopback")),
            ("64:ff9b::a9fe:a9fe", Some("link-local")),
            ("64:ff9b:1::1", Some("private")),
            ("2002:a00:1::1", Some("private")),
            ("2001:0:4136:e378:8000:63bf:3fff:fdd2", Some("tunnelled")),
            ("2001:db8::1", Some("documentation")),
            ("3fff::1", Some("documentation")),
            ("fd00:ec2::254", Some("private")),
            ("fe80::1", Some("link-local")),
            ("fec0::1", Some("private")),
            ("ff02::1", Some("multicast")),
            ("4000::1", Some("reserved")),
        ] {
            assert_eq!(special(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[test]
    fn the_nodes_own_addresses_are_found_by_asking_the_kernel() {
        assert!(is_own("127.0.0.1:1".parse().unwrap()));
        assert!(!is_own("192.0.2.1:1".parse().unwrap()));
    }

    proptest::proptest! {
        /// Whatever form an IPv4 address comes in, it is judged as that address.
        #[test]
        fn an_ipv4_address_in_ipv6_form_is_judged_as_it_is(bits: u32) {
            let address = Ipv4Addr::from_bits(bits);
            let [high, low] = [(bits >> 16) as u16, (bits & 0xffff) as u16];
            for form in [
                address.to_ipv6_mapped(),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
            ] {
                proptest::prop_assert_eq!(special(form.into()), special(address.into()));
            }
        }
    }
}
