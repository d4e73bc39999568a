//! The rates of the channels that have no actor: what they received counts when they begin to send, and so does what an
//! actor before sent.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Context;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use staffetta_bus::{RegistryView, boot_time};
use staffetta_domain::ChannelId;
use tokio::time::{MissedTickBehavior, interval};

use crate::Shared;
use crate::governor::Governor;

/// A governor for each channel that sent or received something lately and has no actor.
pub(crate) struct Rates {
    registry: RegistryView,
    received: BoxStream<'static, ChannelId>,
    idle: HashMap<ChannelId, Governor>,
}

/// Between two looks for governors that are not needed any more.
const TIDY: Duration = Duration::from_secs(5);

impl Rates {
    /// Counts what channels receive from now on, as often as [`next`](Self::next) is asked.
    ///
    /// # Errors
    /// If the receipts can't be followed.
    pub(crate) async fn follow(shared: &Shared) -> anyhow::Result<Self> {
        let received = shared.queue.received().await?.boxed();
        Ok(Self { registry: shared.registry.clone(), received, idle: HashMap::new() })
    }

    /// The next channel that received a message. Whoever governs it is to be told: its actor, or [`count`](Self::count).
    ///
    /// # Errors
    /// If the connection has ended for good.
    pub(crate) async fn next(&mut self) -> anyhow::Result<ChannelId> {
        self.received.next().await.context("the receipts ended")
    }

    /// Counts for all channels, as long as none has an actor.
    ///
    /// # Errors
    /// As [`next`](Self::next). It does not end otherwise.
    pub(crate) async fn listen(&mut self) -> anyhow::Result<()> {
        let mut tidy = interval(TIDY);
        tidy.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                channel = self.received.next() => self.count(&channel.context("the receipts ended")?),
                _ = tidy.tick() => self.tidy(),
            }
        }
    }

    /// Counts a message that a channel without an actor received.
    pub(crate) fn count(&mut self, channel: &ChannelId) {
        let now = boot_time();
        match self.idle.get_mut(channel) {
            Some(governor) => governor.received(now),
            None => {
                let Some(rate) = self.registry.load().channel(channel).map(|channel| channel.rate) else {
                    return;
                };
                let mut governor = Governor::new(rate);
                governor.received(now);
                self.idle.insert(channel.clone(), governor);
            }
        }
    }

    /// The governor for a channel's new actor.
    pub(crate) fn take(&mut self, channel: &ChannelId, rate: u32) -> Governor {
        let mut governor = self.idle.remove(channel).unwrap_or_else(|| Governor::new(rate));
        governor.set_limit(rate);
        governor
    }

    /// Keeps the governor of an actor that ended.
    pub(crate) fn give_back(&mut self, channel: ChannelId, governor: Governor) {
        self.idle.insert(channel, governor);
    }

    /// Drops the governors that count nothing any more.
    pub(crate) fn tidy(&mut self) {
        let now = boot_time();
        self.idle.retain(|_, governor| !governor.is_idle(now));
    }
}
