//! The rates of the channels that have no actor: what they received counts when they begin to send, and so does what an
//! owner before sent.

use std::collections::HashMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use staffetta_bus::{Receipt, Registry, boot_time};
use staffetta_domain::ChannelId;

use crate::governor::{Ages, Governor};
use crate::machine::Past;

/// A governor for each channel that sent or received something lately and has no actor.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    idle: HashMap<ChannelId, Governor>,
    /// What the provider granted them.
    granted: HashMap<ChannelId, u32>,
    seen: Seen,
}

impl Rates {
    /// When a message arrived, by our clock; `None` if it was told before, or no longer counts anywhere.
    pub(crate) fn arrived(&mut self, receipt: &Receipt) -> Option<Duration> {
        let (now, wall) = (boot_time(), Timestamp::now());
        let age = wall.duration_since(receipt.at).max(SignedDuration::ZERO);
        let age = Duration::try_from(age).ok().filter(|age| *age < REMEMBERED)?;
        self.seen.is_new(receipt.key, now).then(|| now.saturating_sub(age))
    }

    /// Counts a message that a channel without an actor received.
    pub(crate) fn count(&mut self, channel: &ChannelId, arrived: Duration, registry: &Registry) {
        if let Some(rate) = registry.channel(channel).map(|channel| channel.rate) {
            let governor = self.idle.entry(channel.clone()).or_insert_with(|| Governor::new(rate));
            governor.received(arrived, boot_time());
        }
    }

    /// Counts what the channel's last actor, here or elsewhere, has told.
    pub(crate) fn remember(&mut self, channel: ChannelId, ages: &Ages, registry: &Registry) {
        let rate = registry.channel(&channel).map_or(1, |channel| channel.rate);
        if let Some(granted) = ages.granted {
            self.granted.insert(channel.clone(), granted);
        }
        self.idle.entry(channel).or_insert_with(|| Governor::new(rate)).take_over(ages, boot_time());
    }

    /// What is known for a channel's new actor.
    pub(crate) fn take(&mut self, channel: &ChannelId, rate: u32) -> Past {
        let governor = self.idle.remove(channel).unwrap_or_else(|| Governor::new(rate));
        Past { governor, granted: self.granted.remove(channel) }
    }

    /// What is known of the channels for which this holds, for another owner of them.
    pub(crate) fn ages_of(&mut self, holds: impl Fn(&ChannelId) -> bool) -> Vec<(ChannelId, Ages)> {
        let now = boot_time();
        let granted = self.granted.iter().filter(|(channel, _)| holds(channel));
        let mut all: HashMap<ChannelId, Ages> = granted
            .map(|(channel, granted)| (channel.clone(), Ages { granted: Some(*granted), ..Ages::default() }))
            .collect();
        for (channel, governor) in self.idle.iter_mut().filter(|(channel, _)| holds(channel)) {
            let ages = governor.handover(now);
            if !ages.is_empty() {
                let known = all.entry(channel.clone()).or_default();
                *known = Ages { granted: known.granted, ..ages };
            }
        }
        all.into_iter().collect()
    }

    /// Drops what counts nothing any more.
    pub(crate) fn tidy(&mut self) {
        let now = boot_time();
        self.idle.retain(|_, governor| !governor.is_idle(now));
        self.seen.tidy(now);
    }
}

/// How long it is remembered that a message was told: through another app it comes a moment later.
const REMEMBERED: Duration = Duration::from_secs(10);
/// Most messages that are remembered.
const MOST: usize = 200_000;

/// The messages that were told lately: one may come through several apps.
#[derive(Debug, Default)]
struct Seen(HashMap<u64, Duration>);

impl Seen {
    fn is_new(&mut self, key: u64, now: Duration) -> bool {
        if self.0.len() >= MOST {
            // Told twice, it counts twice for a second: that is on the safe side.
            self.0.clear();
        }
        self.0.insert(key, now).is_none_or(|before| before + REMEMBERED <= now)
    }

    fn tidy(&mut self, now: Duration) {
        self.0.retain(|_, told| *told + REMEMBERED > now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_through_two_apps_counts_once() {
        let mut rates = Rates::default();
        let receipt = |key| Receipt { channel: "acme-orders".parse().unwrap(), at: Timestamp::now(), key };
        assert!(rates.arrived(&receipt(1)).is_some());
        assert!(rates.arrived(&receipt(1)).is_none());
        assert!(rates.arrived(&receipt(2)).is_some());
        let late = Receipt { at: Timestamp::now() - SignedDuration::from_secs(60), ..receipt(3) };
        assert!(rates.arrived(&late).is_none());
    }
}
