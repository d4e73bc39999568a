//! How the channels stand that this process owns, for whoever looks at the metrics: a lamp for each that has an actor,
//! and beside them what holds for a channel without one too.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use jiff::Timestamp;
use opentelemetry::KeyValue;
use opentelemetry::metrics::AsyncInstrument;
use staffetta_bus::{Lease, boot_time, part_of};
use staffetta_domain::{ChannelId, Lane, TenantId};
use staffetta_runtime::telemetry::meter;

use crate::machine::{Figures, Held, LaneFigures};

/// The lamps. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Board(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    parts: HashMap<u16, Lease>,
    lamps: Vec<Weak<Lamp>>,
    /// Which channels the database says are held, and why.
    held: Vec<(ChannelLabels, &'static str)>,
    /// When the channels' access tokens end.
    tokens: HashMap<ChannelId, (ChannelLabels, Timestamp)>,
}

/// Whose figure it is. Clones cost nothing.
#[derive(Clone, Debug)]
pub(crate) struct ChannelLabels {
    channel: ChannelId,
    pub(crate) labels: [KeyValue; 2],
}

impl ChannelLabels {
    pub(crate) fn of(tenant: &TenantId, channel: &ChannelId) -> Self {
        let label = |name, id: &str| KeyValue::new(name, Arc::<str>::from(id));
        let labels = [label("tenant", tenant.as_str()), label("channel", channel.as_str())];
        Self { channel: channel.clone(), labels }
    }

    fn with(&self, name: &'static str, value: &'static str) -> [KeyValue; 3] {
        let [tenant, channel] = self.labels.clone();
        [tenant, channel, KeyValue::new(name, value)]
    }
}

/// How one channel stands.
#[derive(Debug)]
pub(crate) struct Lamp {
    of: ChannelLabels,
    shown: Mutex<Shown>,
}

/// What a lamp shows.
#[derive(Clone, Copy, Debug, Default)]
struct Shown {
    at: Duration,
    figures: Figures,
    /// How many commands the queue held of each lane when it was last looked at, and how many had gone by then.
    listed: [(u64, u64); 3],
    /// When there was last anything to do.
    busy_at: Duration,
}

/// What counts in the rate is old after this time.
const SECOND: Duration = Duration::from_secs(1);
/// A channel that has had nothing to do for so long is left out.
const IDLE: Duration = Duration::from_secs(3_600);

impl Lamp {
    /// How the channel stands now.
    pub(crate) fn show(&self, figures: Figures, now: Duration) {
        let mut shown = lock(&self.shown);
        (shown.at, shown.figures) = (now, figures);
        if shown.is_busy() {
            shown.busy_at = now;
        }
    }

    /// How many commands the queue holds of each lane.
    pub(crate) fn list(&self, messages: [u64; 3]) {
        let mut shown = lock(&self.shown);
        for (index, messages) in messages.into_iter().enumerate() {
            shown.listed[index] = (messages, shown.figures.lanes[index].gone);
        }
    }

    /// Who it is, for counters.
    pub(crate) fn labels(&self) -> &[KeyValue; 2] {
        &self.of.labels
    }
}

impl Shown {
    /// How many commands wait: those that were read, and, while not all were, those that the queue holds beyond them.
    fn waiting(&self, lane: Lane) -> u64 {
        let LaneFigures { known, is_all_known, gone, .. } = self.figures.lanes[lane as usize];
        let (listed, gone_then) = self.listed[lane as usize];
        let listed = listed.saturating_sub(gone.saturating_sub(gone_then));
        if is_all_known { known } else { known.max(listed) }
    }

    fn oldest(&self, lane: Lane, now: Timestamp) -> f64 {
        let oldest = self.figures.lanes[lane as usize].oldest.filter(|_| self.waiting(lane) > 0);
        oldest.map_or(0.0, |oldest| now.duration_since(oldest).as_secs_f64().max(0.0))
    }

    /// An actor that has nothing to do shows nothing new.
    fn used(&self, now: Duration) -> u32 {
        if self.at + SECOND + SECOND / 4 <= now { 0 } else { self.figures.used }
    }

    fn is_busy(&self) -> bool {
        let Figures { used, doubt, held, .. } = self.figures;
        used > 0 || doubt > 0 || matches!(held, Held::Because(_)) || self.any_waits()
    }

    fn any_waits(&self) -> bool {
        Lane::ALL.into_iter().any(|lane| self.waiting(lane) > 0)
    }

    /// Whether there is or lately was anything to do.
    fn is_of_interest(&self, now: Duration) -> bool {
        self.is_busy() || now < self.busy_at + IDLE
    }
}

impl Board {
    /// The board, with its gauges.
    pub(crate) fn new() -> Self {
        let board = Self::default();
        board.show_parts();
        board.show_lamps("staffetta.channel.rate.limit", "Messages a second that are allowed now", {
            |lamp, shown, gauge| gauge.observe(shown.figures.limit.into(), &lamp.of.labels)
        });
        board.show_lamps("staffetta.channel.rate.used", "Messages sent and received in the last second", {
            |lamp, shown, gauge| gauge.observe(shown.used(boot_time()).into(), &lamp.of.labels)
        });
        board.show_lamps("staffetta.channel.doubt", "Commands whose outcome is being settled", {
            |lamp, shown, gauge| gauge.observe(shown.figures.doubt, &lamp.of.labels)
        });
        board.show_lamps("staffetta.channel.waiting", "Commands in the queue", |lamp, shown, gauge| {
            for lane in Lane::ALL {
                gauge.observe(shown.waiting(lane), &lamp.of.with("lane", lane.as_str()));
            }
        });
        board.show_oldest();
        board.show_held();
        board.show_tokens();
        board
    }

    /// A lamp on the board, until it is dropped.
    pub(crate) fn lamp(&self, tenant: &TenantId, channel: &ChannelId) -> Arc<Lamp> {
        let of = ChannelLabels::of(tenant, channel);
        let shown = Shown { busy_at: boot_time(), ..Shown::default() };
        let lamp = Arc::new(Lamp { of, shown: Mutex::new(shown) });
        let mut state = lock(&self.0);
        state.lamps.retain(|lamp| lamp.strong_count() > 0);
        state.lamps.push(Arc::downgrade(&lamp));
        lamp
    }

    /// The part is owned as long as the lease is valid, or until [`lost`](Self::lost).
    pub(crate) fn gained(&self, part: u16, lease: Lease) {
        lock(&self.0).parts.insert(part, lease);
    }

    /// The part is not owned any more.
    pub(crate) fn lost(&self, part: u16) {
        lock(&self.0).parts.remove(&part);
    }

    /// Whether the channel's part is owned.
    pub(crate) fn owns(&self, channel: &ChannelId) -> bool {
        lock(&self.0).owns(channel)
    }

    /// Which channels the database says are held, and why: all of them, whoever owns them.
    pub(crate) fn held(&self, held: Vec<(ChannelLabels, &'static str)>) {
        lock(&self.0).held = held;
    }

    /// When the channel's access token ends; `None` if it does not, or nobody says.
    pub(crate) fn token_ends(&self, of: ChannelLabels, at: Option<Timestamp>) {
        let mut state = lock(&self.0);
        match at {
            Some(at) => state.tokens.insert(of.channel.clone(), (of, at)),
            None => state.tokens.remove(&of.channel),
        };
    }

    /// Forgets the tokens of all channels but these.
    pub(crate) fn keep_tokens(&self, of: &HashSet<&ChannelId>) {
        lock(&self.0).tokens.retain(|channel, _| of.contains(channel));
    }

    /// The lamps that have something to show.
    fn lamps(&self) -> Vec<(Arc<Lamp>, Shown)> {
        let now = boot_time();
        let lamps: Vec<_> = lock(&self.0).lamps.iter().filter_map(Weak::upgrade).collect();
        let shown = lamps.into_iter().map(|lamp| {
            let shown = *lock(&lamp.shown);
            (lamp, shown)
        });
        shown.filter(|(_, shown)| shown.is_of_interest(now)).collect()
    }

    fn show_lamps(
        &self,
        name: &'static str,
        description: &'static str,
        show: impl Fn(&Lamp, &Shown, &dyn AsyncInstrument<u64>) + Send + Sync + 'static,
    ) {
        let board = self.clone();
        meter()
            .u64_observable_gauge(name)
            .with_description(description)
            .with_callback(move |gauge| {
                for (lamp, shown) in board.lamps() {
                    show(&lamp, &shown, gauge);
                }
            })
            .build();
    }

    fn show_parts(&self) {
        let (parts, channels) = (self.clone(), self.clone());
        meter()
            .u64_observable_gauge("staffetta.dispatcher.parts")
            .with_description("Parts of SEND that the process owns")
            .with_callback(move |gauge| {
                let owned = lock(&parts.0).parts.values().filter(|lease| lease.is_valid()).count();
                gauge.observe(owned as u64, &[]);
            })
            .build();
        meter()
            .u64_observable_gauge("staffetta.dispatcher.channels")
            .with_description("Channels that it is working on")
            .with_callback(move |gauge| gauge.observe(channels.lamps().len() as u64, &[]))
            .build();
    }

    fn show_oldest(&self) {
        let board = self.clone();
        meter()
            .f64_observable_gauge("staffetta.channel.oldest")
            .with_unit("s")
            .with_description("Age of the oldest command in the queue")
            .with_callback(move |gauge| {
                let now = Timestamp::now();
                for (lamp, shown) in board.lamps() {
                    for lane in Lane::ALL {
                        gauge.observe(shown.oldest(lane, now), &lamp.of.with("lane", lane.as_str()));
                    }
                }
            })
            .build();
    }

    fn show_held(&self) {
        let board = self.clone();
        meter()
            .u64_observable_gauge("staffetta.channel.held")
            .with_description(
                "1 while the channel sends nothing because of its token, its account or its quota",
            )
            .with_callback(move |gauge| {
                for (of, reason) in board.all_held() {
                    gauge.observe(1, &of.with("reason", reason));
                }
            })
            .build();
    }

    /// The held channels that are owned here, and why: what an actor knows is newer than what the database said.
    fn all_held(&self) -> Vec<(ChannelLabels, &'static str)> {
        let state = lock(&self.0);
        let (mut held, mut known) = (Vec::new(), HashSet::new());
        for lamp in state.lamps.iter().filter_map(Weak::upgrade) {
            let is = lock(&lamp.shown).figures.held;
            if let Held::Because(reason) = is {
                held.push((lamp.of.clone(), reason));
            }
            if is != Held::Unknown {
                known.insert(lamp.of.channel.clone());
            }
        }
        let idle = state.held.iter();
        let idle = idle.filter(|(of, _)| !known.contains(&of.channel) && state.owns(&of.channel));
        held.extend(idle.cloned());
        held
    }

    fn show_tokens(&self) {
        let board = self.clone();
        meter()
            .f64_observable_gauge("staffetta.channel.token.expiry")
            .with_unit("s")
            .with_description("Until the channel's access token ends, where the provider names an end")
            .with_callback(move |gauge| {
                let (now, state) = (Timestamp::now(), lock(&board.0));
                for (of, at) in state.tokens.values().filter(|(of, _)| state.owns(&of.channel)) {
                    gauge.observe(at.duration_since(now).as_secs_f64().max(0.0), &of.labels);
                }
            })
            .build();
    }
}

impl State {
    fn owns(&self, channel: &ChannelId) -> bool {
        self.parts.get(&part_of(channel.as_str())).is_some_and(Lease::is_valid)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(known: u64, is_all_known: bool, gone: u64) -> Figures {
        let lane = LaneFigures { known, is_all_known, gone, oldest: None };
        Figures { lanes: [LaneFigures::default(), lane, LaneFigures::default()], ..Figures::default() }
    }

    #[test]
    fn what_was_not_read_counts_as_the_queue_says() {
        let board = Board::default();
        let lamp = board.lamp(&"acme".parse().unwrap(), &"acme-orders".parse().unwrap());
        let waiting = || lock(&lamp.shown).waiting(Lane::Normal);
        lamp.show(figures(1_000, false, 40), Duration::ZERO);
        assert_eq!(waiting(), 1_000);
        lamp.list([0, 1_000_000, 0]);
        assert_eq!(waiting(), 1_000_000);
        lamp.show(figures(1_000, false, 540), Duration::ZERO);
        assert_eq!(waiting(), 999_500);
        lamp.show(figures(7, true, 999_900), Duration::ZERO);
        assert_eq!(waiting(), 7);
        // One more came, before the queue was looked at again.
        lamp.show(figures(0, false, 1_000_040), Duration::ZERO);
        assert_eq!(waiting(), 0);
    }

    #[test]
    fn a_channel_with_nothing_to_do_goes_out_after_an_hour() {
        let mut shown = Shown { busy_at: Duration::from_secs(100), ..Shown::default() };
        assert!(shown.is_of_interest(Duration::from_secs(3_699)));
        assert!(!shown.is_of_interest(Duration::from_secs(3_700)));
        shown.figures.held = Held::Because("token");
        assert!(shown.is_of_interest(Duration::from_secs(9_999)));
    }

    #[test]
    fn what_was_used_counts_for_a_second() {
        let figures = Figures { used: 80, ..Figures::default() };
        let shown = Shown { at: SECOND, figures, ..Shown::default() };
        assert_eq!((shown.used(SECOND * 2), shown.used(SECOND * 3)), (80, 0));
    }
}
