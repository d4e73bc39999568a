//! One channel beside whatever else is registered.

use super::{Bed, Database, Lane, Load, RATE, Webhooks, backlog, quiet};
use crate::{
    figures::{Percentiles, micros_each},
    registered::Registered,
};

/// How the channel fared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Beside {
    /// Of its 250 a second, with a backlog.
    pub(crate) used_share: f64,
    /// Of the dispatcher, in microseconds a message.
    pub(crate) cpu: f64,
    /// One command at a time: from its publish to the provider's socket.
    pub(crate) arrived: Percentiles,
}

impl Beside {
    /// Drains a backlog for so many seconds, then sends so many single commands.
    ///
    /// Fails when a command does not arrive, or arrives twice.
    pub(crate) async fn measure(
        database: &Database,
        others: Registered,
        seconds: u32,
        singles: usize,
    ) -> anyhow::Result<Self> {
        let load = Load {
            channels: 1,
            commands_each: usize::try_from(RATE * seconds)?,
            rate: RATE,
            lane: Lane::Normal,
            others,
        };
        let mut bed = Bed::set_up(database, load, Webhooks::None).await?;
        let drained = backlog::drain(&mut bed, load).await?;
        bed.tear_down().await?;
        let mut bed = Bed::set_up(database, Load { commands_each: 0, ..load }, Webhooks::None).await?;
        let quiet = quiet::measure(&mut bed, singles).await?;
        bed.tear_down().await?;
        Ok(Self {
            used_share: drained.least_used_share,
            cpu: micros_each(drained.cpu.dispatcher, drained.accepted),
            arrived: quiet.arrived.percentiles(),
        })
    }
}
