//! What a number may send a second, the level it reports, and an upgrade with its outage.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::control::ControlError;
use crate::limits::SECOND_US;
use crate::options::DEFAULT_RATE;
use crate::world::{Channel, State, World};

/// An upgrade of a number's throughput.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upgrade {
    /// Messages a second once it is over; not below the rate before.
    pub rate: NonZeroU32,
    /// How long sends are refused with 131057, in milliseconds. Meta's outage takes up to a minute.
    #[serde(default = "a_minute")]
    pub maintenance_ms: u64,
}

fn a_minute() -> u64 {
    60_000
}

/// What a number's `throughput.level` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ThroughputLevel {
    /// Up to 80 a second.
    Standard,
    /// More.
    High,
    /// Nothing that a rate follows from.
    NotApplicable,
}

/// An upgrade that is under way, or over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Upgrading {
    until: u64,
    rate: NonZeroU32,
}

impl Channel {
    /// Messages a second at this time.
    pub(crate) fn rate_at(&self, at: u64) -> NonZeroU32 {
        match self.upgrading {
            Some(upgrading) if upgrading.until <= at => upgrading.rate,
            _ => self.config.rate,
        }
    }

    /// Whether an upgrade keeps sends out at this time.
    pub(crate) fn in_maintenance(&self, at: u64) -> bool {
        self.upgrading.is_some_and(|upgrading| at < upgrading.until)
    }

    /// The level it reports at this time.
    pub(crate) fn level_at(&self, at: u64) -> ThroughputLevel {
        match self.level {
            Some(level) => level,
            None if self.rate_at(at) > DEFAULT_RATE => ThroughputLevel::High,
            None => ThroughputLevel::Standard,
        }
    }
}

impl World {
    /// Begins an upgrade; its webhook follows the end of the outage. Fails on an unknown number and on a
    /// rate below the one before.
    pub(crate) fn upgrade(&self, number: &str, upgrade: Upgrade) -> Result<(), ControlError> {
        let now = self.now();
        let mut state = self.state();
        let State { channels, behaviour, .. } = &mut *state;
        let channel = channels.get_mut(number).ok_or(ControlError::UnknownNumber)?;
        channel.config.rate = channel.rate_at(now);
        if upgrade.rate < channel.config.rate {
            return Err(ControlError::LowerRate);
        }
        let until = now.saturating_add(upgrade.maintenance_ms.saturating_mul(SECOND_US / 1000));
        channel.upgrading = Some(Upgrading { until, rate: upgrade.rate });
        // Without the number's id, as Meta sends it; only portfolios without a messaging limit are upgraded.
        let value = json!({
            "display_phone_number": channel.config.display_phone_number,
            "event": "THROUGHPUT_UPGRADE",
            "max_daily_conversations_per_business": "TIER_UNLIMITED",
        });
        let delay = Duration::from_millis(upgrade.maintenance_ms);
        self.announce(channel, behaviour, ("phone_number_quality_update", value), delay);
        Ok(())
    }

    /// Makes a number report this level, or with `None` the one that follows from its rate. Fails on an
    /// unknown number.
    pub(crate) fn set_level(&self, number: &str, level: Option<ThroughputLevel>) -> Result<(), ControlError> {
        let mut state = self.state();
        state.channels.get_mut(number).ok_or(ControlError::UnknownNumber)?.level = level;
        Ok(())
    }
}
