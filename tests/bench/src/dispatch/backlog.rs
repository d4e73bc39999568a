//! Backlogs of many channels, sent as fast as their rates allow.

use std::time::Duration;

use anyhow::ensure;
use tokio::time::{Instant, sleep};

use super::{
    bed::{Bed, Cpu},
    commands::Lane,
    provider::Report,
};
use crate::registered::Registered;

/// Between two looks at the queue: each costs NATS something.
const LOOK: Duration = Duration::from_millis(250);
/// A backlog that stops getting smaller for this long is stuck.
const STUCK: Duration = Duration::from_secs(60);

/// What waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(super) channels: usize,
    pub(super) commands_each: usize,
    pub(super) rate: u32,
    pub(super) lane: Lane,
    /// What is registered besides, and sends nothing.
    pub(super) others: Registered,
}

/// How a backlog went.
#[derive(Debug)]
pub(super) struct Drained {
    pub(super) accepted: u64,
    /// Over the time from the first accepted send to the last one of the channel that took longest.
    pub(super) per_second: f64,
    pub(super) least_used_share: f64,
    pub(super) mean_used_share: f64,
    /// Arrivals at one number in any sliding second, refused ones too.
    pub(super) worst_second: u64,
    pub(super) refused: u64,
    /// From the dispatcher's start to the empty queue.
    pub(super) cpu: Cpu,
    /// The most that the dispatcher had, in bytes.
    pub(super) most_memory: u64,
}

/// Starts the dispatcher and waits until the queue is empty.
///
/// Fails when the queue stops getting smaller, and when a command did not arrive, or arrived twice.
pub(super) async fn drain(bed: &mut Bed<'_>, load: Load) -> anyhow::Result<Drained> {
    let before = bed.cpu()?;
    bed.start_dispatchers(1).await?;
    let (mut waiting, mut since) = (bed.waiting().await?, Instant::now());
    let mut most_memory = bed.memory()?;
    while waiting > 0 {
        sleep(LOOK).await;
        bed.check_running()?;
        most_memory = bed.memory()?.max(most_memory);
        let now = bed.waiting().await?;
        if now < waiting {
            (waiting, since) = (now, Instant::now());
        }
        ensure!(since.elapsed() < STUCK, "{waiting} commands have waited for {STUCK:?} and none left");
    }
    let cpu = bed.cpu()?.since(before);
    drained(load, &bed.provider.report().await?, cpu, most_memory)
}

fn drained(load: Load, report: &Report, cpu: Cpu, most_memory: u64) -> anyhow::Result<Drained> {
    let seen = (0..load.channels).map(|n| report.channel(n)).collect::<anyhow::Result<Vec<_>>>()?;
    for (n, seen) in seen.iter().enumerate() {
        let (wanted, found) = (load.commands_each as u64, seen.accepted);
        ensure!(
            found == wanted,
            "channel {n} sent {found} of {wanted} commands; refused: {:?}",
            seen.refused
        );
        let again = seen.duplicates.max(seen.same_message);
        ensure!(again == 0, "channel {n} sent {again} commands again");
        ensure!(seen.not_logged == 0, "the simulator's log was full");
    }
    let accepted: u64 = seen.iter().map(|seen| seen.accepted).sum();
    let longest = seen.iter().map(|seen| seen.busy_us).max().unwrap_or(0);
    ensure!(longest > 0, "all was sent at once");
    let shares = seen.iter().map(|seen| seen.used_share);
    let refused = seen.iter().flat_map(|seen| seen.refused.values()).chain(report.refused.values()).sum();
    Ok(Drained {
        accepted,
        // n sends have n - 1 gaps between them.
        per_second: (accepted - load.channels as u64) as f64 * 1e6 / longest as f64,
        least_used_share: shares.clone().fold(f64::INFINITY, f64::min),
        mean_used_share: shares.sum::<f64>() / load.channels as f64,
        worst_second: seen.iter().map(|seen| seen.worst_second.sends_and_inbound).max().unwrap_or(0),
        refused,
        cpu,
        most_memory,
    })
}

impl Cpu {
    fn since(self, before: Self) -> Self {
        Self {
            dispatcher: self.dispatcher.saturating_sub(before.dispatcher),
            postgres: self.postgres.saturating_sub(before.postgres),
            nats: self.nats.saturating_sub(before.nats),
            simulator: self.simulator.saturating_sub(before.simulator),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::provider::number, *};

    const NO_CPU: Cpu = Cpu {
        dispatcher: Duration::ZERO,
        postgres: Duration::ZERO,
        nats: Duration::ZERO,
        simulator: Duration::ZERO,
    };

    fn report(second_accepted: u64, duplicates: u64) -> Report {
        let seen = |accepted: u64, busy_us: u64, share: f64, duplicates: u64| {
            serde_json::json!({
                "accepted": accepted, "refused": { "130429": 1 }, "inbound": 0,
                "worst_second": { "sends_and_inbound": 200 }, "busy_us": busy_us, "used_share": share, "duplicates": duplicates, "same_message": 0, "not_logged": 0,
            })
        };
        let channels = serde_json::json!({
            number(0): seen(1_001, 5_000_000, 0.8, 0),
            number(1): seen(second_accepted, 4_000_000, 1.0, duplicates),
        });
        serde_json::from_value(serde_json::json!({ "channels": channels, "refused": {} })).unwrap()
    }

    const LOAD: Load =
        Load { channels: 2, commands_each: 1_001, rate: 250, lane: Lane::Normal, others: Registered::NONE };

    #[test]
    fn figures_come_from_every_channel() {
        let drained = drained(LOAD, &report(1_001, 0), NO_CPU, 0).unwrap();
        assert_eq!((drained.accepted, drained.refused, drained.worst_second), (2_002, 2, 200));
        assert_eq!(
            (drained.per_second, drained.least_used_share, drained.mean_used_share),
            (400.0, 0.8, 0.9)
        );
    }

    #[test]
    fn a_lost_or_repeated_command_is_no_figure() {
        assert!(drained(LOAD, &report(1_000, 0), NO_CPU, 0).is_err());
        assert!(drained(LOAD, &report(1_001, 1), NO_CPU, 0).is_err());
    }
}
