//! Names into addresses that may be reached.

use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::net::lookup_host;
use tokio::sync::Semaphore;

use super::NoAnswer;
use super::address::Networks;

/// Names that are resolved at a time: each one holds a thread for as long as its server takes.
const AT_A_TIME: usize = 64;

/// Gives the connector none but allowed addresses.
#[derive(Clone)]
pub(super) struct Resolver {
    networks: Networks,
    /// Whether what is sent will be encrypted.
    is_sealed: bool,
    room: Arc<Semaphore>,
}

impl Resolver {
    pub(super) fn new(networks: Networks, is_sealed: bool) -> Self {
        Self { networks, is_sealed, room: Arc::new(Semaphore::new(AT_A_TIME)) }
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let Self { networks, is_sealed, room } = self.clone();
        // Whoever waits for it has a time limit: that of the connection.
        Box::pin(async move {
            let _room = room.acquire().await?;
            let found = lookup_host((name.as_str(), 0)).await.map_err(|_| NoAnswer::Unresolved)?;
            let mut allowed = Vec::new();
            let mut refused = NoAnswer::Unresolved;
            for address in found {
                match networks.check(address.ip(), is_sealed) {
                    Ok(()) => allowed.push(address),
                    Err(why) => refused = why,
                }
            }
            if allowed.is_empty() {
                return Err(refused.into());
            }
            let allowed: Addrs = Box::new(allowed.into_iter());
            Ok(allowed)
        })
    }
}
