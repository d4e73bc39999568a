//! One channel with a backlog, measured at the receiver.

use std::time::Duration;

use anyhow::ensure;
use tokio::time::{Instant, sleep};

use super::{
    arrivals::Arrivals,
    backlog::Load,
    bed::Bed,
    commands::Lane,
    database::Database,
    ends::{Ends, How},
    provider::{Spread, Webhooks},
};
use crate::registered::Registered;

/// Users write for this long before the first dispatcher starts.
const WRITING: Duration = Duration::from_millis(1_500);
/// After this time all replicas have their shares.
const SETTLED: Duration = Duration::from_secs(3);
/// From then until the first end.
const UNTIL_FIRST_END: Duration = Duration::from_secs(2);
/// From one end to the next, and after the last.
const BETWEEN_ENDS: Duration = Duration::from_secs(8);
const LOOK: Duration = Duration::from_millis(250);
const STUCK: Duration = Duration::from_secs(60);

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    /// Messages a second, both ways together.
    pub(super) rate: u32,
    /// This share of it is users' messages, in percent.
    pub(super) inbound: u32,
    pub(super) spread: Spread,
    pub(super) replicas: usize,
    pub(super) ends: Ends,
    /// Where nothing ends.
    pub(super) seconds: u32,
}

/// How it went.
#[derive(Debug)]
pub(super) struct Outcome {
    /// Sends as a share of what users' messages left, the gaps that ends caused left out.
    pub(super) used: f64,
    /// Arrivals of both kinds in any sliding second, gaps and all.
    pub(super) worst_second: u64,
    /// The longest without a send around each end.
    pub(super) gaps: Vec<(How, Duration)>,
    pub(super) twice: u64,
    pub(super) out_of_order: usize,
    /// By code.
    pub(super) refused: Vec<(String, u64)>,
}

impl Cell {
    /// Fails when a process ends by itself, and when a command does not arrive.
    pub(super) async fn measure(self, database: &Database) -> anyhow::Result<Outcome> {
        let commands = self.commands();
        let load = Load {
            channels: 1,
            commands_each: commands,
            rate: self.rate,
            lane: Lane::Normal,
            others: Registered::NONE,
        };
        let mut bed = Bed::set_up(database, load, self.webhooks()).await?;
        let outcome = self.measure_on(&mut bed, commands).await?;
        bed.tear_down().await?;
        Ok(outcome)
    }

    async fn measure_on(self, bed: &mut Bed<'_>, commands: usize) -> anyhow::Result<Outcome> {
        let clock = bed.provider.compare_clocks(bed.origin).await?;
        if self.inbound > 0 {
            bed.provider.write(self.inbound_rate(), self.spread).await?;
            sleep(WRITING).await;
        }
        bed.start_dispatchers(self.replicas).await?;
        sleep(SETTLED).await;
        let (from_us, written_before) = (bed.now(), self.written(bed).await?);

        let mut ends = Vec::new();
        let mut planned = self.ends.all().iter();
        let mut next_end = Instant::now() + UNTIL_FIRST_END;
        let (mut waiting, mut since) = (bed.waiting().await?, Instant::now());
        ensure!(waiting > 0, "the backlog was gone before it was measured");
        while waiting > 0 {
            sleep(LOOK).await;
            bed.check_running()?;
            if Instant::now() >= next_end
                && let Some(&how) = planned.next()
            {
                next_end += BETWEEN_ENDS;
                ends.extend(bed.end_sender(how).await?);
            }
            let now = bed.waiting().await?;
            if now < waiting {
                (waiting, since) = (now, Instant::now());
            }
            ensure!(since.elapsed() < STUCK, "{waiting} commands have waited for {STUCK:?} and none left");
        }
        let (ended, all) = (ends.len(), self.ends.all().len());
        ensure!(
            ended == all,
            "the backlog was gone, or nobody sent, when {ended} of {all} replicas had ended"
        );
        let seconds = (bed.now() - from_us) as f64 / 1e6;
        let written = (self.written(bed).await? - written_before) as f64 / seconds;
        if self.inbound > 0 {
            bed.provider.write(0.0, self.spread).await?;
        }

        let mut report = bed.provider.detailed_report().await?;
        let seen = report.take_channel(0)?;
        let mut refused: Vec<_> = seen.refused.clone().into_iter().chain(report.refused).collect();
        refused.retain(|&(_, count)| count > 0);
        let (worst_second, twice) =
            (seen.worst_second.sends_and_inbound, seen.duplicates.max(seen.same_message));
        let arrivals = Arrivals::of(seen, clock)?;
        let arrived = arrivals.commands();
        ensure!(arrived == commands, "{arrived} of {commands} commands arrived; refused: {refused:?}");
        let gaps: Vec<_> = ends.iter().filter_map(|&end| Some((end.how, arrivals.gap_of(end)?))).collect();
        let left_out: Vec<_> = gaps.iter().map(|&(_, gap)| gap).collect();
        Ok(Outcome {
            used: arrivals.rate_from(from_us, &left_out) / (f64::from(self.rate) - written),
            worst_second,
            gaps: gaps
                .into_iter()
                .map(|(how, gap)| (how, Duration::from_micros(gap.micros().unsigned_abs())))
                .collect(),
            twice,
            out_of_order: arrivals.out_of_order(),
            refused,
        })
    }

    /// Users' messages so far.
    async fn written(self, bed: &Bed<'_>) -> anyhow::Result<u64> {
        Ok(bed.provider.report().await?.channel(0)?.inbound)
    }

    /// Statuses settle what an end leaves in doubt.
    fn webhooks(self) -> Webhooks {
        match (self.ends, self.inbound) {
            (Ends::None, 0) => Webhooks::None,
            (Ends::None, _) => Webhooks::Messages,
            _ => Webhooks::MessagesAndStatuses,
        }
    }

    fn inbound_rate(self) -> f64 {
        f64::from(self.rate) * f64::from(self.inbound) / 100.0
    }

    /// So many that the backlog lasts until all ends are over, and what they left in doubt.
    fn commands(self) -> usize {
        let sending = match self.ends.all() {
            [] => Duration::from_secs(self.seconds.into()),
            ends => {
                let idle: Duration = ends.iter().map(|end| end.expected_gap()).sum();
                UNTIL_FIRST_END + BETWEEN_ENDS * ends.len() as u32 - idle
            }
        };
        let left = f64::from(self.rate) - self.inbound_rate();
        ((SETTLED + sending).as_secs_f64() * left) as usize
    }
}

impl How {
    /// Little is sent for so long.
    fn expected_gap(self) -> Duration {
        match self {
            Self::Killed => Duration::from_secs(3),
            Self::Stopped => Duration::ZERO,
        }
    }
}
