//! A network of IP addresses.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use crate::text::serde_as_text;

pub(super) const ALLOWED: &str = "an IP address, or one and '/' and a prefix length with no bit \
     set beyond it (\"10.0.0.0/8\")";

/// An IPv4 or IPv6 network in CIDR form (RFC 4632 §3.1); a lone address is a network of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IpNet {
    address: IpAddr,
    prefix_bits: u8,
}

impl IpNet {
    /// Whether the address lies in this network.
    ///
    /// An IPv4 address that a dual-stack socket shows as `::ffff:a.b.c.d` is that IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (own.to_bits() ^ other.to_bits()) & mask_v4(self.prefix_bits) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                (own.to_bits() ^ other.to_bits()) & mask_v6(self.prefix_bits) == 0
            }
            _ => false,
        }
    }
}

fn mask_v4(prefix_bits: u8) -> u32 {
    u32::MAX
        .checked_shl(Ipv4Addr::BITS - u32::from(prefix_bits))
        .unwrap_or(0)
}

fn mask_v6(prefix_bits: u8) -> u128 {
    u128::MAX
        .checked_shl(Ipv6Addr::BITS - u32::from(prefix_bits))
        .unwrap_or(0)
}

/// Why a text is not a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IpNetError {
    /// The part before the `/` is no address.
    #[error("is not an IP address or network")]
    Address,
    /// The part after it is no number, or one too large for the address.
    #[error("has no valid prefix length (0 to 32 for IPv4, 0 to 128 for IPv6)")]
    PrefixLength,
    /// The address is not the network's first.
    #[error("has bits set beyond its prefix length")]
    HostBits,
    /// An IPv4 network in IPv6 form, which no client address is compared with.
    #[error("is an IPv4 network in IPv6 form; write it as IPv4")]
    Mapped,
}

impl FromStr for IpNet {
    type Err = IpNetError;

    fn from_str(text: &str) -> Result<Self, IpNetError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| IpNetError::Address)?;
        if address != address.to_canonical() {
            return Err(IpNetError::Mapped);
        }
        let bits_max = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits = match prefix {
            None => bits_max,
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits
                .parse()
                .ok()
                .filter(|bits| *bits <= bits_max)
                .ok_or(IpNetError::PrefixLength)?,
            Some(_) => return Err(IpNetError::PrefixLength),
        };
        let host_bits = match address {
            IpAddr::V4(own) => own.to_bits() & !mask_v4(prefix_bits) != 0,
            IpAddr::V6(own) => own.to_bits() & !mask_v6(prefix_bits) != 0,
        };
        if host_bits {
            return Err(IpNetError::HostBits);
        }
        Ok(Self {
            address,
            prefix_bits,
        })
    }
}

impl fmt::Display for IpNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_bits)
    }
}

serde_as_text!(IpNet, ALLOWED);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn networks_contain_their_addresses() {
        for (net, address, contains) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.8", false),
            ("192.0.2.6/31", "192.0.2.7", true),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::/0", "2001:db8::1", true),
            ("::1", "::1", true),
        ] {
            let parsed: IpNet = net.parse().unwrap();
            assert_eq!(
                parsed.contains(address.parse().unwrap()),
                contains,
                "{net} {address}"
            );
        }
    }

    #[test]
    fn each_fault_has_its_reason() {
        for (text, error) in [
            ("", IpNetError::Address),
            ("localhost", IpNetError::Address),
            ("10.0.0/8", IpNetError::Address),
            ("10.0.0.0/", IpNetError::PrefixLength),
            ("10.0.0.0/33", IpNetError::PrefixLength),
            ("10.0.0.0/+8", IpNetError::PrefixLength),
            ("::/129", IpNetError::PrefixLength),
            ("10.0.0.0/8/8", IpNetError::PrefixLength),
            ("10.0.0.1/8", IpNetError::HostBits),
            ("2001:db8::1/32", IpNetError::HostBits),
            ("::ffff:10.0.0.0/104", IpNetError::Mapped),
        ] {
            assert_eq!(text.parse::<IpNet>(), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn networks_round_trip_and_hold_exactly_their_prefix(
            bits in any::<u32>(), prefix_bits in 0..=32_u8, other in any::<u32>()
        ) {
            let address = Ipv4Addr::from_bits(bits & mask_v4(prefix_bits));
            let net: IpNet = format!("{address}/{prefix_bits}").parse().unwrap();
            prop_assert_eq!(net.to_string().parse(), Ok(net));
            let same = u64::from(bits) >> (32 - prefix_bits) == u64::from(other) >> (32 - prefix_bits);
            prop_assert_eq!(net.contains(Ipv4Addr::from_bits(other).into()), same);
        }

        #[test]
        fn any_text_is_refused_or_round_trips(text in prop_oneof![any::<String>(), "[0-9a-f.:/]{0,20}"]) {
            if let Ok(net) = text.parse::<IpNet>() {
                prop_assert_eq!(net.to_string().parse(), Ok(net));
            }
        }
    }
}
