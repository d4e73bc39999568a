//! What a new owner learns before it sends: why the channel waits, whom it wrote to lately, what the provider grants.

use std::time::Duration;

use jiff::Timestamp;
use staffetta_store::{ChannelHold, RecentSend};

use super::{Action, Machine, Now};
use crate::hold::Key;
use crate::pairs::HISTORY;

/// What is known so far.
#[derive(Debug, Default)]
pub(super) struct Start {
    loaded: bool,
    granted: Granted,
    /// When the provider is asked again what it grants.
    ask_at: Option<Duration>,
    /// Whether it is being asked, and with which key.
    asking: Option<Key>,
    /// When the provider last told something.
    told_at: Option<Duration>,
}

/// What the provider grants the number.
#[derive(Clone, Copy, Debug, Default)]
enum Granted {
    /// It was asked for the first time and has not answered.
    #[default]
    Asked,
    /// It did not say.
    Unsaid,
    Said(u32),
}

/// What is granted while the provider has not answered: its least.
const LEAST: u32 = 80;
/// Between two questions, whatever the provider tells meanwhile.
const SOON: Duration = Duration::from_secs(5);
/// Between two questions what the provider grants.
const ASK_EVERY: Duration = Duration::from_secs(3_600);

impl Start {
    pub(super) fn is_over(&self) -> bool {
        self.loaded
    }
}

impl Machine {
    /// `granted` is what the provider granted an owner before.
    pub(super) fn begin(&mut self, granted: Option<u32>, now: &Now) {
        self.start.granted = granted.map_or(Granted::Asked, Granted::Said);
        let since = now.wall.checked_sub(HISTORY).unwrap_or(Timestamp::UNIX_EPOCH);
        self.todo.push(Action::Load { since });
        self.ask_throughput(now);
        self.set_limit();
    }

    pub(super) fn loaded(&mut self, hold: Option<ChannelHold>, mut recent: Vec<RecentSend>, now: &Now) {
        recent.sort_by_key(|send| send.at);
        for send in &recent {
            let age = Duration::try_from(now.wall.duration_since(send.at)).unwrap_or_default();
            for user in [&send.phone, &send.user].into_iter().flatten() {
                self.pairs.remember(user, now.boot.saturating_sub(age), now.boot);
            }
        }
        if let Some(hold) = &hold {
            self.hold.restore(&self.view.key, now.boot);
            self.stop.restore(&hold.class, now.boot);
        }
        self.start.loaded = true;
    }

    /// Asks now and then what the provider grants: an upgrade's webhook may be lost.
    pub(super) fn look_at_start(&mut self, now: &Now) -> Option<Duration> {
        let at = self.start.ask_at?;
        if at <= now.boot {
            self.ask_throughput(now);
        }
        // An idle channel need not know before it sends again.
        self.start.ask_at.filter(|at| self.has_work() || *at < now.boot + ASK_EVERY / 2)
    }

    /// One question at a time.
    pub(super) fn ask_throughput(&mut self, now: &Now) {
        self.start.ask_at = Some(now.boot + ASK_EVERY);
        let key = &self.view.key;
        if !self.view.sendable || !key.is_whole() {
            self.start.granted = Granted::Unsaid;
        } else if self.start.asking.is_none() {
            self.start.asking = Some(key.clone());
            self.todo.push(Action::AskThroughput(key.clone()));
        } else {
            self.ask_throughput_after(now.boot + SOON);
        }
    }

    /// Asks once more at that moment.
    pub(super) fn ask_throughput_after(&mut self, at: Duration) {
        self.start.ask_at = Some(self.start.ask_at.map_or(at, |ask_at| ask_at.min(at)));
    }

    pub(super) fn granted(&mut self, granted: Option<u32>, now: &Now) {
        let asked_with = self.start.asking.take();
        if asked_with.is_some_and(|key| key.number != self.view.key.number) {
            // That was another number's.
            return self.ask_throughput(now);
        }
        self.start.granted = match (granted, self.start.granted) {
            (Some(granted), _) => Granted::Said(granted),
            // What it said before holds.
            (None, Granted::Said(granted)) => Granted::Said(granted),
            (None, _) => Granted::Unsaid,
        };
        self.set_limit();
    }

    /// What the provider grants, if it has said so.
    pub(crate) fn grant(&self) -> Option<u32> {
        match self.start.granted {
            Granted::Said(granted) => Some(granted),
            Granted::Asked | Granted::Unsaid => None,
        }
    }

    /// The channel shows another number, or another token.
    pub(super) fn key_changed(&mut self, before: &Key, now: &Now) {
        if before.number != self.view.key.number {
            self.start.granted = Granted::Asked;
        }
        self.ask_throughput(now);
    }

    /// The rate that the registry gives, and no more than the provider grants.
    pub(super) fn set_limit(&mut self) {
        let granted = match self.start.granted {
            Granted::Asked => LEAST,
            Granted::Unsaid => u32::MAX,
            Granted::Said(granted) => granted,
        };
        self.governor.set_limit(self.view.rate.min(granted));
    }

    /// Something changed at the provider: perhaps its grant, perhaps what the channel is held for.
    pub(super) fn channel_told(&mut self, now: &Now) {
        let lately = self.start.told_at.is_some_and(|told_at| now.boot < told_at + SOON);
        if lately {
            return self.ask_throughput_after(now.boot + SOON);
        }
        self.start.told_at = Some(now.boot);
        self.ask_throughput(now);
        self.hold.try_now(now.boot);
    }
}
