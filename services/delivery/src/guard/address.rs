//! Which addresses may be reached.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use anyhow::anyhow;
use ipnet::IpNet;

use super::NoAnswer;

/// The networks that the operator named.
#[derive(Clone, Debug, Default)]
pub(super) struct Networks(Arc<[IpNet]>);

impl Networks {
    /// Networks, or single addresses, separated by commas.
    pub(super) fn read(text: &str) -> anyhow::Result<Self> {
        let named = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        let read = |name: &str| match name.parse::<IpNet>() {
            Ok(network) => Ok(network),
            Err(_) => name.parse::<IpAddr>().map(IpNet::from).map_err(|_| {
                anyhow!("delivery.allow_networks: {name:?} is not a network, as 10.1.0.0/16 or ::1/128")
            }),
        };
        named.map(read).collect::<anyhow::Result<Vec<_>>>().map(|networks| Self(networks.into()))
    }

    /// This machine itself.
    pub(super) fn loopback() -> Self {
        let v4 = IpNet::new_assert(Ipv4Addr::new(127, 0, 0, 0).into(), 8);
        Self([v4, IpAddr::from(Ipv6Addr::LOCALHOST).into()].into())
    }

    /// Whether that address may be reached, encrypted or in clear text: a public one only encrypted, one that the
    /// operator named either way, any other not at all.
    pub(super) fn check(&self, address: IpAddr, is_sealed: bool) -> Result<(), NoAnswer> {
        let meant = meant(address);
        let is_named = |address| self.0.iter().any(|network| network.contains(&address));
        if is_named(address) || is_named(meant) {
            Ok(())
        } else if !is_public(meant) {
            Err(NoAnswer::Forbidden)
        } else if is_sealed {
            Ok(())
        } else {
            Err(NoAnswer::Plain)
        }
    }
}

/// The IPv4 address that an IPv6 address of certain kinds leads to; otherwise the address itself.
fn meant(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let octets = v6.octets();
    let v4 =
        |at: usize| IpAddr::from(Ipv4Addr::new(octets[at], octets[at + 1], octets[at + 2], octets[at + 3]));
    match v6.segments() {
        // Mapped, and the translated form of it.
        [0, 0, 0, 0, 0, 0xffff, _, _] | [0, 0, 0, 0, 0xffff, 0, _, _] => v4(12),
        // The unspecified address and loopback look like "compatible" ones, and are none.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => address,
        [0, 0, 0, 0, 0, 0, _, _] => v4(12),
        // NAT64.
        [0x64, 0xff9b, 0, 0, 0, 0, _, _] => v4(12),
        // 6to4.
        [0x2002, ..] => v4(2),
        _ => address,
    }
}

/// Whether the address belongs to somebody on the internet.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    !matches!(
        address.octets(),
        // This network, loopback, and private ones.
        [0 | 10 | 127, ..] | [172, 16..=31, ..] | [192, 168, ..]
        // A carrier's own; link-local, where clouds keep their metadata.
        | [100, 64..=127, ..] | [169, 254, ..]
        // Protocol assignments, documentation, relays, benchmarks.
        | [192, 0, 0 | 2, _] | [198, 51, 100, _] | [203, 0, 113, _] | [192, 88, 99, _] | [198, 18 | 19, ..]
        // A cloud's own services behind a public address.
        | [168, 63, 129, 16]
        // Multicast, reserved, broadcast.
        | [224..=255, ..]
    )
}

/// Of IPv6 only what is given out for the internet, less what is not used there.
fn is_public_v6(address: Ipv6Addr) -> bool {
    match address.segments() {
        // Protocol assignments: Teredo, benchmarks, overlay ids.
        [0x2001, 0..=0x1ff, ..] => false,
        // Documentation.
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(networks: &str, address: &str, is_sealed: bool) -> Result<(), NoAnswer> {
        Networks::read(networks).unwrap().check(address.parse().unwrap(), is_sealed)
    }

    #[test]
    fn what_is_not_the_internet_is_refused() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.9",
            "168.63.129.16",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:0:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "2001::1",
            "2001:2::1",
            "2001:db8::1",
            "3fff::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "100::1",
            "5f00::1",
            "4000::1",
        ] {
            assert_eq!(checked("", address, true), Err(NoAnswer::Forbidden), "{address}");
        }
    }

    #[test]
    fn the_internet_is_reached_encrypted() {
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.0.0.1",
            "128.0.0.1",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "192.167.0.1",
            "198.17.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700:4700::1111",
            "2001:200::1",
            "2a00::1",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
        ] {
            assert_eq!(checked("", address, true), Ok(()), "{address}");
            assert_eq!(checked("", address, false), Err(NoAnswer::Plain), "{address}");
        }
    }

    #[test]
    fn a_network_that_is_named_is_reached_either_way() {
        let networks = "10.1.0.0/16, fd12::/16,192.168.7.9 ,203.0.113.0/24";
        for address in
            ["10.1.255.1", "::ffff:10.1.0.1", "fd12::9", "192.168.7.9", "203.0.113.80", "64:ff9b::10.1.0.1"]
        {
            assert_eq!(checked(networks, address, false), Ok(()), "{address}");
            assert_eq!(checked(networks, address, true), Ok(()), "{address}");
        }
        for address in ["10.2.0.1", "fd13::9", "192.168.7.8", "127.0.0.1"] {
            assert_eq!(checked(networks, address, true), Err(NoAnswer::Forbidden), "{address}");
        }
    }

    #[test]
    fn what_is_no_network_is_named() {
        let error = Networks::read("10.0.0.0/8, 10.0.0.0/33").unwrap_err().to_string();
        assert!(error.contains("delivery.allow_networks") && error.contains("10.0.0.0/33"), "{error}");
        assert!(Networks::read("localhost").is_err());
        assert!(Networks::read("").unwrap().0.is_empty());
    }
}
