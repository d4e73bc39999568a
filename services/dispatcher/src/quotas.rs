//! Quotas that channels share: their app's, and their account's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use staffetta_bus::Registry;
use staffetta_domain::{Breadth, ChannelId};
use tracing::warn;

/// Who pays for a channel's calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Payers {
    app: Option<String>,
    account: Option<String>,
    /// The channel itself, where nothing is known of the others.
    channel: String,
}

impl Payers {
    pub(crate) fn of(registry: &Registry, id: &ChannelId) -> Self {
        let channel = registry.channel(id);
        Self {
            app: channel.and_then(|channel| channel.app.as_ref()).map(|app| format!("app.{app}")),
            account: channel.and_then(|channel| channel.waba_id.as_ref()).map(|id| format!("account.{id}")),
            channel: format!("channel.{id}"),
        }
    }

    fn named(&self) -> impl Iterator<Item = &String> {
        [self.app.as_ref(), self.account.as_ref(), Some(&self.channel)].into_iter().flatten()
    }
}

/// The quotas that are used up, and until when. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Quotas(Arc<Mutex<HashMap<String, Duration>>>);

impl Quotas {
    /// Until when one of them is used up, if any is.
    pub(crate) fn until(&self, payers: &Payers, now: Duration) -> Option<Duration> {
        let mut used_up = self.lock();
        if used_up.is_empty() {
            return None;
        }
        used_up.retain(|_, until| *until > now);
        payers.named().filter_map(|payer| used_up.get(payer)).max().copied()
    }

    /// The provider said that the quota is used up until then.
    pub(crate) fn used_up(&self, payers: &Payers, breadth: Breadth, until: Duration) {
        let payer = match breadth {
            Breadth::App => payers.app.as_ref(),
            Breadth::Account => payers.account.as_ref(),
            Breadth::Channel => None,
        };
        let payer = payer.unwrap_or(&payers.channel);
        let mut used_up = self.lock();
        let standing = used_up.entry(payer.clone()).or_default();
        if until > *standing {
            if standing.is_zero() {
                warn!(quota = payer, "a quota of calls is used up: its channels wait");
            }
            *standing = until;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Duration>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_shares_the_payer_waits_and_nobody_else() {
        let payers = |app: &str, account: &str| Payers {
            app: Some(app.into()),
            account: Some(account.into()),
            channel: format!("{app}.{account}"),
        };
        let (quotas, later) = (Quotas::default(), Duration::from_secs(60));
        quotas.used_up(&payers("a", "1"), Breadth::Account, later);
        assert_eq!(quotas.until(&payers("b", "1"), Duration::ZERO), Some(later));
        assert_eq!(quotas.until(&payers("a", "2"), Duration::ZERO), None);
        quotas.used_up(&payers("a", "1"), Breadth::App, later * 2);
        assert_eq!(quotas.until(&payers("a", "2"), Duration::ZERO), Some(later * 2));
        assert_eq!(quotas.until(&payers("a", "2"), later * 2), None);
    }
}
