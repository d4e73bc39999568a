//! Where a file may be fetched from. The address comes in an answer, and the token is shown there.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::net::lookup_host;
use tokio::time::timeout;

/// How an address is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Wherever its name leads.
    Anywhere,
    /// Only if its name leads to the public internet.
    PublicAlone,
}

/// Where Meta keeps files.
const META: [&str; 4] = ["facebook.com", "fbsbx.com", "fbcdn.net", "whatsapp.net"];

/// Longest time to look up a name.
const LOOK_UP: Duration = Duration::from_secs(5);

/// How a file's address is reached when `base` is the provider's; `None` if it must not be.
pub(super) fn way_to(base: &Url, address: &Url) -> Option<Way> {
    let safe = address.scheme() == "https" || (address.scheme() == "http" && base.scheme() == "http");
    let bare = address.username().is_empty() && address.password().is_none();
    let (host, own) = (address.host_str()?, base.host_str()?);
    if !safe || !bare {
        return None;
    }
    if host == own || is_private(own) {
        return Some(Way::Anywhere);
    }
    let fits = if is_meta(own) { is_meta(host) } else { !is_private(host) };
    fits.then_some(Way::PublicAlone)
}

fn is_meta(host: &str) -> bool {
    META.iter()
        .any(|domain| host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
}

/// Whether the host says of itself that it isn't on the public internet.
fn is_private(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(address) => !is_public(address),
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

/// Whether anybody on the internet may be reached there.
fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 198 && (18..20).contains(&b))
        || (a, b, c) == (192, 0, 0))
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let first = address.segments();
    // Only 2000::/3 is given out. 2002::/16, 64:ff9b::/96 and 2001::/23 wrap or lead to other addresses.
    first[0] & 0xe000 == 0x2000
        && first[0] != 0x2002
        && !(first[0] == 0x2001 && (first[1] < 0x0200 || first[1] == 0x0db8))
}

/// Looks names up, and knows no addresses but public ones.
#[derive(Clone, Copy, Debug)]
pub(super) struct PublicAlone;

impl Resolve for PublicAlone {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = timeout(LOOK_UP, lookup_host((name.as_str(), 0))).await;
            let found = found.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            let public: Vec<SocketAddr> = found.filter(|address| is_public(address.ip())).collect();
            if public.is_empty() {
                return Err(io::Error::from(io::ErrorKind::AddrNotAvailable).into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(base: &str, address: &str) -> Option<Way> {
        way_to(&Url::parse(base).unwrap(), &Url::parse(address).unwrap())
    }

    #[test]
    fn meta_s_files_lie_at_meta_s() {
        let meta = "https://graph.facebook.com";
        for good in ["https://lookaside.fbsbx.com/a?mid=1", "https://mmg.whatsapp.net/x"] {
            assert_eq!(way(meta, good), Some(Way::PublicAlone), "{good}");
        }
        assert_eq!(way(meta, "https://graph.facebook.com/x"), Some(Way::Anywhere));
        for bad in [
            "http://lookaside.fbsbx.com/a",
            "https://evilfbsbx.com/a",
            "https://fbsbx.com.evil.example/a",
            "https://u:p@lookaside.fbsbx.com/a",
            "https://169.254.169.254/latest",
            "https://localhost/a",
            "ftp://lookaside.fbsbx.com/a",
            "data:text/plain,x",
        ] {
            assert_eq!(way(meta, bad), None, "{bad}");
        }
    }

    #[test]
    fn a_stand_in_may_keep_files_where_it_is() {
        for (base, address, wanted) in [
            ("http://127.0.0.1:8082", "http://127.0.0.1:8082/a", Some(Way::Anywhere)),
            ("http://127.0.0.1:8082", "http://localhost:9000/a", Some(Way::Anywhere)),
            ("http://simulator:8082", "http://simulator:8082/a", Some(Way::Anywhere)),
            ("http://simulator:8082", "http://10.0.0.1/a", None),
            ("https://waba.example", "https://files.waba.example/a", Some(Way::PublicAlone)),
            ("https://waba.example", "http://files.waba.example/a", None),
            ("https://waba.example", "https://[::1]/a", None),
            ("https://waba.example", "https://192.168.1.1/a", None),
            ("https://waba.example", "https://0x7f.1/a", None),
        ] {
            assert_eq!(way(base, address), wanted, "{base} {address}");
        }
    }

    #[test]
    fn public_addresses_are_told_from_all_others() {
        for public in ["1.1.1.1", "157.240.1.1", "2a03:2880::1", "::ffff:1.1.1.1"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for other in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "192.0.2.1",
            "198.18.0.1",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "ff02::1",
            "2001:db8::1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "2002:a00:1::",
            "2001::1",
        ] {
            assert!(!is_public(other.parse().unwrap()), "{other}");
        }
    }

    #[tokio::test]
    async fn a_name_that_leads_inside_leads_nowhere() {
        let found = PublicAlone.resolve("localhost".parse().unwrap()).await;
        assert!(found.is_err());
    }
}
