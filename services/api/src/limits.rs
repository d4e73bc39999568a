//! How much anybody may ask.
//!
//! Each key has so many requests a second. What comes without a key that is known is counted by the address that it
//! comes from, and far less of it is let through: otherwise keys could be guessed at speed. Once an address has spent
//! that, a key that was not seen from there of late is not even looked at, so that nobody learns whether a guess was
//! right; those that were go on as before. So whoever shares an address with somebody who guesses, behind one proxy
//! or NAT, is hurt only when coming anew. An address is that of the connection: what a header says of where a request
//! came from, anybody can write.

mod buckets;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use opentelemetry::KeyValue;
use opentelemetry::metrics::Counter;
use staffetta_bus::Key;
use staffetta_runtime::http::Peer;
use staffetta_runtime::telemetry::meter;

use self::buckets::Buckets;
use crate::App;
use crate::caller::{Shown, key_of};
use crate::problem::{Kind, Problem};

/// Requests a second that are let through from one address without a key that is known.
const STRANGERS: u32 = 20;

/// Most keys, and most addresses, that are counted on their own.
const MOST: usize = 1 << 16;

/// How long a key stays known at the address where it was last shown.
const KNOWN_FOR: Duration = Duration::from_secs(600);

/// How often those that are known no longer are forgotten.
const SWEEP: Duration = Duration::from_secs(60);

/// What everybody has left.
#[derive(Debug)]
pub(crate) struct Gate {
    /// Requests a second of a key whose tenant has no limit of its own.
    rate: u32,
    keys: Mutex<Buckets<String>>,
    strangers: Mutex<Buckets<IpAddr>>,
    guests: Mutex<Guests>,
    /// Requests of keys that are known.
    requests: Counter<u64>,
}

/// What a key has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Allowance {
    rate: u32,
    /// `None`: it had nothing left, and the request is refused.
    left: Option<u32>,
}

/// Too many requests.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TooMany {
    #[error("this API key has made as many requests as it may within a second")]
    OfKey,
    #[error("too many requests without an API key that is known came from this address")]
    OfStrangers,
}

impl IntoResponse for TooMany {
    fn into_response(self) -> Response {
        Problem::of(Kind::RATE_LIMITED, &self).retry_after(1).into_response()
    }
}

impl Gate {
    pub(crate) fn new(rate: u32) -> Self {
        Self {
            rate,
            keys: Mutex::new(Buckets::new(MOST)),
            strangers: Mutex::new(Buckets::new(MOST)),
            guests: Mutex::default(),
            requests: meter()
                .u64_counter("staffetta.tenant.requests")
                .with_description("Requests of keys that are known, by how they ended")
                .build(),
        }
    }

    /// Counts a request without a key that is known, from that address.
    ///
    /// # Errors
    /// When the address has spent its allowance.
    pub(crate) fn stranger(&self, peer: Peer, now: Instant) -> Result<(), TooMany> {
        let taken = lock(&self.strangers).take(network(peer), STRANGERS, now);
        taken.map(drop).ok_or(TooMany::OfStrangers)
    }

    /// Counts a request with a key that is known.
    fn tenant(&self, peer: Peer, key: &Key, now: Instant) -> Result<Allowance, TooMany> {
        let network = network(peer);
        let known = lock(&self.guests).is_known(network, &key.id, now);
        if !known {
            if !lock(&self.strangers).has_any(network, STRANGERS, now) {
                return Err(TooMany::OfStrangers);
            }
            lock(&self.guests).welcome(network, &key.id, now);
        }
        let rate = key.tenant.api_requests_per_second.unwrap_or(self.rate).max(1);
        Ok(Allowance { rate, left: lock(&self.keys).take(key.id.clone(), rate, now) })
    }
}

/// Counts the request before anything else is done for it, and leaves the key that it shows in its extensions.
/// Operators have keys of their own, which are looked at where they are asked for.
pub(crate) async fn guard(State(app): State<App>, mut request: Request, next: Next) -> Response {
    if request.uri().path().starts_with("/admin/") {
        return next.run(request).await;
    }
    let peer = request.extensions().get::<Peer>().copied();
    let peer = peer.unwrap_or(Peer((Ipv6Addr::UNSPECIFIED, 0).into()));
    let now = tokio::time::Instant::now().into_std();
    let shown = key_of(&app, request.headers());
    let counted = match &shown {
        Ok(key) => app.gate.tenant(peer, key, now).map(Some),
        Err(_) => app.gate.stranger(peer, now).map(|()| None),
    };
    let allowance = match counted {
        Err(too_many) => return too_many.into_response(),
        Ok(allowance) => allowance,
    };
    let tenant = shown.as_ref().ok().map(|key| key.tenant.id.to_string());
    let refused = allowance.is_some_and(|allowance| allowance.left.is_none());
    let mut response = if refused {
        TooMany::OfKey.into_response()
    } else {
        request.extensions_mut().insert(Shown(shown));
        next.run(request).await
    };
    if let Some(allowance) = allowance {
        say(allowance, &mut response);
    }
    if let Some(tenant) = tenant {
        let labels = [KeyValue::new("tenant", tenant), KeyValue::new("outcome", outcome(response.status()))];
        app.gate.requests.add(1, &labels);
    }
    response
}

fn outcome(status: StatusCode) -> &'static str {
    match status.as_u16() {
        429 => "limited",
        ..400 => "ok",
        400..500 => "refused",
        _ => "failed",
    }
}

/// As the IETF's draft on rate limit headers has it (draft-ietf-httpapi-ratelimit-headers).
fn say(Allowance { rate, left }: Allowance, response: &mut Response) {
    let left = left.unwrap_or(0);
    let policy = format!(r#""default";q={rate};w=1"#);
    let state = format!(r#""default";r={left};t=1"#);
    for (name, value) in [("ratelimit-policy", policy), ("ratelimit", state)] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
}

/// What counts as one address. A subscriber of IPv6 has at least all addresses of the same first 64 bits.
fn network(Peer(peer): Peer) -> IpAddr {
    match peer.ip().to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        address => address,
    }
}

/// Which keys were shown where, of late.
#[derive(Debug, Default)]
struct Guests {
    seen: HashMap<(IpAddr, String), Instant>,
    swept: Option<Instant>,
}

impl Guests {
    /// Whether the key was shown there of late. Being asked for keeps it known.
    fn is_known(&mut self, network: IpAddr, key: &str, now: Instant) -> bool {
        let seen = self.seen.get_mut(&(network, key.to_owned()));
        let Some(seen) = seen.filter(|seen| now.saturating_duration_since(**seen) < KNOWN_FOR) else {
            return false;
        };
        *seen = now;
        true
    }

    /// Notes that the key was shown there, if there is room.
    fn welcome(&mut self, network: IpAddr, key: &str, now: Instant) {
        if self.swept.is_none_or(|swept| now.saturating_duration_since(swept) >= SWEEP) {
            self.seen.retain(|_, seen| now.saturating_duration_since(*seen) < KNOWN_FOR);
            self.swept = Some(now);
        }
        if self.seen.len() < MOST {
            self.seen.insert((network, key.to_owned()), now);
        }
    }
}

/// What a thread that panicked has counted is as good as any count.
fn lock<T>(counted: &Mutex<T>) -> MutexGuard<'_, T> {
    counted.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use staffetta_bus::{Encoding, Scope, Tenant};

    use super::*;

    fn peer(address: &str) -> Peer {
        Peer((address.parse::<IpAddr>().unwrap(), 4711).into())
    }

    fn key(id: &str, rate: Option<u32>) -> Key {
        let tenant = Tenant {
            id: "acme".parse().unwrap(),
            encoding: Encoding::Json,
            doubt_policy: Default::default(),
            retention_days: 7,
            name: "Acme".into(),
            api_requests_per_second: rate,
        };
        let (name, expires) = (None, None);
        Key { tenant: Arc::new(tenant), id: id.into(), name, scopes: Scope::ALL.to_vec(), expires }
    }

    #[test]
    fn each_key_has_its_tenants_rate_or_everybodys() {
        let (gate, now) = (Gate::new(5), Instant::now());
        let peer = peer("192.0.2.1");
        assert_eq!(gate.tenant(peer, &key("a", None), now).unwrap(), Allowance { rate: 5, left: Some(4) });
        let own = key("b", Some(2));
        assert_eq!(gate.tenant(peer, &own, now).unwrap(), Allowance { rate: 2, left: Some(1) });
        assert_eq!(gate.tenant(peer, &own, now).unwrap().left, Some(0));
        assert_eq!(gate.tenant(peer, &own, now).unwrap().left, None);
        assert_eq!(gate.tenant(peer, &key("c", Some(2)), now).unwrap().left, Some(1));
    }

    #[test]
    fn whoever_guesses_learns_nothing_and_hurts_nobody_who_was_there() {
        let (gate, now) = (Gate::new(5), Instant::now());
        let (here, elsewhere) = (peer("192.0.2.1"), peer("192.0.2.2"));
        gate.tenant(here, &key("known", None), now).unwrap();
        for _ in 0..STRANGERS {
            gate.stranger(here, now).unwrap();
        }
        assert!(gate.stranger(here, now).is_err());
        assert!(gate.tenant(here, &key("guessed", None), now).is_err());
        gate.tenant(here, &key("known", None), now).unwrap();
        gate.stranger(elsewhere, now).unwrap();
        gate.tenant(elsewhere, &key("guessed", None), now).unwrap();

        let later = now + Duration::from_secs(1);
        gate.tenant(here, &key("guessed", None), later).unwrap();
        // Shown at last so long ago, a key is as good as any other.
        let much_later = later + KNOWN_FOR;
        for _ in 0..STRANGERS {
            gate.stranger(here, much_later).unwrap();
        }
        assert!(gate.tenant(here, &key("known", None), much_later).is_err());
    }

    #[test]
    fn a_subscribers_addresses_count_as_one() {
        assert_eq!(network(peer("2001:db8:1:2:3:4:5:6")), network(peer("2001:db8:1:2::1")));
        assert_ne!(network(peer("2001:db8:1:2::1")), network(peer("2001:db8:1:3::1")));
        assert_eq!(network(peer("::ffff:192.0.2.1")), network(peer("192.0.2.1")));
        assert_ne!(network(peer("192.0.2.1")), network(peer("192.0.2.2")));
    }
}
