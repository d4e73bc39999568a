//! The end of the replica that sends, and what takes its place.

use std::time::Duration;

use clap::ValueEnum;
use futures_util::future::{try_join, try_join_all};
use tokio::time::sleep;

use super::bed::Bed;

/// What `/metrics` calls the sends of a replica.
const SENDS: &str = "staffetta_dispatcher_sends_total";
/// Sends are counted for so long, and counted again when nobody sent: the channel may just have moved.
const WATCHED: Duration = Duration::from_millis(300);
const LOOKS: usize = 20;

/// Which replicas end while a channel is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Ends {
    /// None
    None,
    /// The one that sends is killed, twice
    Kill,
    /// The one that sends is stopped in good order, twice
    Stop,
    /// The one that sends is killed, the next one is stopped
    Both,
}

/// How one replica ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// `SIGKILL`.
    Killed,
    /// `SIGTERM`.
    Stopped,
}

/// A replica that has ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) how: How,
    /// When it got the signal, on our clock.
    pub(super) at_us: i64,
}

impl Ends {
    pub(super) fn all(self) -> &'static [How] {
        match self {
            Self::None => &[],
            Self::Kill => &[How::Killed, How::Killed],
            Self::Stop => &[How::Stopped, How::Stopped],
            Self::Both => &[How::Killed, How::Stopped],
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Kill => "kills",
            Self::Stop => "stops",
            Self::Both => "kill, stop",
        }
    }
}

impl Bed<'_> {
    /// Ends the dispatcher that sends, and starts another one at the same moment. `None` when none sends.
    ///
    /// Fails when a stop does not go well, and when the other one does not come up.
    pub(super) async fn end_sender(&mut self, how: How) -> anyhow::Result<Option<End>> {
        let Some(sender) = self.sender().await? else { return Ok(None) };
        let sender = self.dispatchers.swap_remove(sender);
        let at_us = self.now();
        let ending = async {
            match how {
                How::Killed => sender.kill().await,
                How::Stopped => sender.stop().await,
            }
        };
        let ((), next) = try_join(ending, self.gateway.start("dispatcher")).await?;
        self.dispatchers.push(next);
        Ok(Some(End { how, at_us }))
    }

    /// The replica whose count of sends grows fastest.
    async fn sender(&self) -> anyhow::Result<Option<usize>> {
        let mut before = self.sends().await?;
        for _ in 0..LOOKS {
            sleep(WATCHED).await;
            let after = self.sends().await?;
            let grown = before.iter().zip(&after).map(|(before, after)| after - before).enumerate();
            let (most, grown) = grown.max_by(|(_, one), (_, other)| one.total_cmp(other)).unwrap_or((0, 0.0));
            if grown > 0.0 {
                return Ok(Some(most));
            }
            before = after;
        }
        Ok(None)
    }

    async fn sends(&self) -> anyhow::Result<Vec<f64>> {
        try_join_all(self.dispatchers.iter().map(|service| service.counted(SENDS))).await
    }
}
