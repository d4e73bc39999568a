//! Commands that were put off until now: they go back on SEND, and from there their usual way.

mod ending;
mod entry;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use jiff::{SignedDuration, Timestamp};
use staffetta_bus::{Bus, PublishError, SendSubject};
use staffetta_domain::{CommandId, TenantId};
use staffetta_outbox::DeadLetters;
use staffetta_store::{Scheduled, Store};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use uuid::Uuid;

use crate::ledger::Ledger;
use ending::End;
use entry::Entry;

pub(crate) use entry::{WAS_DUE, is_kept};

/// Between two looks for what is due.
const LOOK: Duration = Duration::from_millis(500);
/// Most commands that are taken at a time.
const TAKE: u32 = 200;
/// Recipients whose commands are published side by side.
const SIDE_BY_SIDE: usize = 32;
/// How long one take may last. The database hands what is not through by then out once more.
const TAKE_TIME: Duration = Duration::from_secs(15);
/// When the database does so.
const HANDED_OUT_AGAIN: Duration = Duration::from_secs(30);
/// Longest wait for the database to forget what is queued.
const FORGET: Duration = Duration::from_secs(10);
/// How long a command that NATS refuses is tried: the fault may be its own, or of something that somebody mends.
const REFUSED_FOR: SignedDuration = SignedDuration::from_mins(10);

/// Whether this process puts on SEND what is due. One replica at a time should: two would mix up the order of what is
/// due for one recipient. Clones are one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Duty(Arc<AtomicBool>);

impl Duty {
    /// From here on it does, or begins nothing more.
    pub(crate) fn set(&self, on: bool) {
        self.0.store(on, Ordering::Relaxed);
    }

    fn is_on(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Puts due commands on SEND.
#[derive(Debug)]
pub(crate) struct Schedule {
    bus: Bus,
    store: Store,
    ledger: Ledger,
    dead: DeadLetters,
    duty: Duty,
    /// Until when nothing is queued in a lane, because one of its commands could not be: it must not be overtaken.
    stuck: HashMap<SendSubject, Instant>,
}

type Key = (TenantId, CommandId);

/// What becomes of the commands of one take.
struct Take<'a> {
    deadline: Instant,
    stop: &'a CancellationToken,
    so_far: Mutex<SoFar>,
}

#[derive(Default)]
struct SoFar {
    /// On SEND, or ended.
    through: Vec<Key>,
    /// Lanes with a command that could not be queued.
    stuck: HashSet<SendSubject>,
}

/// Why a command is not on SEND.
enum Left {
    /// It never will be.
    For(End),
    /// Nothing of its lane can be queued for the moment.
    LaneStuck,
    /// Nothing of its recipient.
    RecipientStuck,
}

impl Schedule {
    pub(crate) fn new(bus: Bus, store: Store, ledger: Ledger, dead: DeadLetters, duty: Duty) -> Self {
        Self { bus, store, ledger, dead, duty, stuck: HashMap::new() }
    }

    /// Works until `stop`, while it is on duty. Whatever fails is tried again: the database hands what was not confirmed
    /// out once more, half a minute later, and a command that is on SEND twice is sent once.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(LOOK) => {}
            }
            while !stop.is_cancelled()
                && self.duty.is_on()
                && self.bus.is_connected()
                && self.take(&stop).await == TAKE as usize
            {}
        }
    }

    /// How many it took.
    async fn take(&mut self, stop: &CancellationToken) -> usize {
        let begun = Instant::now();
        let due = match self.store.due(Timestamp::now(), TAKE).await {
            Ok(due) => due,
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "what is due could not be read");
                return 0;
            }
        };
        let taken = due.len();
        if taken == 0 {
            return 0;
        }
        self.stuck.retain(|_, until| *until > begun);
        let stuck = self.stuck.keys().cloned().collect();
        let so_far = Mutex::new(SoFar { stuck, ..SoFar::default() });
        let take = Take { deadline: begun + TAKE_TIME, stop, so_far };
        let (this, shared) = (&*self, &take);
        let recipients = stream::iter(by_recipient(due)).map(|(lane, commands)| async move {
            this.queue_in_order(&lane, commands, shared).await;
        });
        recipients.buffer_unordered(SIDE_BY_SIDE).collect::<()>().await;
        let SoFar { through, stuck } = take.so_far.into_inner().unwrap_or_else(PoisonError::into_inner);
        for lane in stuck {
            self.stuck.entry(lane).or_insert(begun + HANDED_OUT_AGAIN);
        }
        self.forget(&through).await;
        taken
    }

    async fn forget(&self, through: &[Key]) {
        if through.is_empty() {
            return;
        }
        debug!(commands = through.len(), "commands were due");
        match timeout(FORGET, self.store.unschedule(through)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "commands that were due are queued once more later"
                );
            }
            Err(_) => warn!("commands that were due are queued once more later: no answer in time"),
        }
    }

    /// One recipient's commands, one after the other. The first that has to stay holds the others back.
    async fn queue_in_order(&self, lane: &SendSubject, commands: Vec<Scheduled>, take: &Take<'_>) {
        for command in commands {
            if !self.may_go_on(lane, take) {
                return;
            }
            let through = match self.queue(lane, &command, take).await {
                Ok(()) => true,
                Err(Left::For(end)) => self.end(&command, end, take).await,
                Err(Left::RecipientStuck) => false,
                Err(Left::LaneStuck) => {
                    take.so_far().stuck.insert(lane.clone());
                    false
                }
            };
            if !through {
                return;
            }
            take.so_far().through.push((command.tenant, command.id));
        }
    }

    fn may_go_on(&self, lane: &SendSubject, take: &Take<'_>) -> bool {
        let in_time = Instant::now() < take.deadline && !take.stop.is_cancelled();
        in_time && self.duty.is_on() && !take.so_far().stuck.contains(lane)
    }

    /// Afterwards the command is surely on SEND, once or more often.
    async fn queue(&self, lane: &SendSubject, command: &Scheduled, take: &Take<'_>) -> Result<(), Left> {
        let now = Timestamp::now();
        let entry = Entry::of(command).map_err(|invalid| Left::For(End::Invalid(invalid)))?;
        if entry.is_over(now) {
            return Err(Left::For(End::Expired));
        }
        // An id that nobody else can have used: SEND has one window of known ids for all tenants, and would pass over
        // a command whose id another tenant's had a moment ago. What the answer calls a duplicate is this very entry.
        let message_id = Uuid::now_v7().to_string();
        let Entry { headers, payload, .. } = entry;
        let publishing = self.bus.publish(lane.subject(), &message_id, headers, payload, take.deadline);
        // Nobody knows whether one that is given up on the way is on SEND: it comes once more.
        let Some(published) = take.stop.run_until_cancelled(publishing).await else {
            return Err(Left::LaneStuck);
        };
        let Err(error) = published else { return Ok(()) };
        warn!(command = %command.id, error = &error as &dyn std::error::Error, "a command that is due could not be queued");
        Err(match error {
            PublishError::TooLarge => Left::For(End::TooLarge),
            PublishError::Refused(_) if now.duration_since(command.due) >= REFUSED_FOR => {
                Left::For(End::Refused)
            }
            PublishError::Refused(_) => Left::RecipientStuck,
            PublishError::Full | PublishError::TimedOut | PublishError::Unavailable => Left::LaneStuck,
        })
    }
}

impl Take<'_> {
    fn so_far(&self) -> MutexGuard<'_, SoFar> {
        self.so_far.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The commands of each recipient, in the order in which they are due, whose is due first at the front.
fn by_recipient(due: Vec<Scheduled>) -> Vec<(SendSubject, Vec<Scheduled>)> {
    let mut places = HashMap::new();
    let mut recipients: Vec<(SendSubject, Vec<Scheduled>)> = Vec::new();
    for command in due {
        let Scheduled { tenant, channel, lane, .. } = &command;
        let lane = SendSubject { tenant: tenant.clone(), channel: channel.clone(), lane: *lane };
        let place = *places.entry((lane.clone(), command.user.clone())).or_insert(recipients.len());
        match recipients.get_mut(place) {
            Some((_, commands)) => commands.push(command),
            None => recipients.push((lane, vec![command])),
        }
    }
    recipients
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_recipient_s_commands_stay_in_order_and_apart_by_tenant_channel_and_lane() {
        let command = |id: &str, tenant: &str, lane: &str, user: &str| Scheduled {
            tenant: tenant.parse().unwrap(),
            channel: "orders".parse().unwrap(),
            id: id.parse().unwrap(),
            lane: lane.parse().unwrap(),
            user: user.into(),
            callback_data: None,
            due: Timestamp::UNIX_EPOCH,
            payload: Vec::new(),
            headers: Vec::new(),
        };
        let due = vec![
            command("1", "acme", "bulk", "anna"),
            command("2", "beta", "bulk", "anna"),
            command("3", "acme", "bulk", "bruno"),
            command("4", "acme", "urgent", "anna"),
            command("5", "acme", "bulk", "anna"),
        ];
        let ids = |commands: &[Scheduled]| commands.iter().map(|one| one.id.to_string()).collect::<Vec<_>>();
        let grouped: Vec<_> = by_recipient(due).iter().map(|(_, commands)| ids(commands).join(" ")).collect();
        assert_eq!(grouped, ["1 5", "2", "3", "4"]);
    }
}
