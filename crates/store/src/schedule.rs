//! Commands that go on SEND later, and those that are taken back before they leave.

use std::collections::HashSet;

use jiff::{SignedDuration, Timestamp};
use sqlx::FromRow;
use staffetta_domain::{ChannelId, CommandId, CommandState, Event, TenantId};

use crate::moment::Moment;
use crate::types::{Cancelled, Scheduled, StoreError};
use crate::{Backend, Store, ask, within};

/// How long whoever was given a command that is due has for putting it on SEND, before it is given to the next.
const TAKEN: SignedDuration = SignedDuration::from_secs(30);

impl Store {
    /// Keeps each command until it is due, and makes it known as queued. Says of each, in their order, whether it waits
    /// now, or waited already: then nothing was changed, not even its time. `false`: the command is being sent, or is
    /// in doubt, or has ended, and is not to be sent again.
    ///
    /// # Errors
    /// As every method's.
    pub async fn schedule(&self, commands: &[Scheduled]) -> Result<Vec<bool>, StoreError> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        ask!(self, schedule(commands))
    }

    /// The commands that are due at `now`, the one that was due first at the front, at most `limit`. For the 30 seconds
    /// after `now` nobody else is given them; [`unschedule`](Self::unschedule) takes them off for good, once they are
    /// on SEND.
    ///
    /// # Errors
    /// As every method's, and [`StoreError::Corrupt`].
    pub async fn due(&self, now: Timestamp, limit: u32) -> Result<Vec<Scheduled>, StoreError> {
        ask!(self, due(now, limit))
    }

    /// When the next command is due, those that somebody was given included; `None` if none is waiting.
    ///
    /// # Errors
    /// As every method's.
    pub async fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        ask!(self, next_due())
    }

    /// Forgets when these commands are due: they are on SEND. Whether they are known, and how, stays.
    ///
    /// # Errors
    /// As every method's.
    pub async fn unschedule(&self, keys: &[(TenantId, CommandId)]) -> Result<(), StoreError> {
        if keys.is_empty() {
            return Ok(());
        }
        ask!(self, unschedule(keys))
    }

    /// Takes a queued command back, and tells the event that `cancelled` makes for its channel: of a claim and this,
    /// one alone succeeds. One that waits for another try and may have been sent by an earlier one is as good as in
    /// doubt: too late. The command is known from then on as of the event's time. Repeating it changes nothing and
    /// tells nothing.
    ///
    /// # Errors
    /// As every method's, and [`StoreError::Corrupt`].
    pub async fn cancel(
        &self,
        tenant: &TenantId,
        id: &CommandId,
        cancelled: impl FnOnce(&ChannelId) -> Event,
    ) -> Result<Cancelled, StoreError> {
        // A command never changes its channel.
        let Some(command) = self.command(tenant, id).await? else { return Ok(Cancelled::Unknown) };
        let event = cancelled(&command.channel);
        ask!(self, cancel(tenant, id, &event))
    }
}

/// Until when commands that are given to somebody now are that one's.
pub(crate) fn taken_until(now: Timestamp) -> Moment {
    now.checked_add(TAKEN).unwrap_or(now).into()
}

/// What becomes of a wish to cancel a command of this state, if the command was not queued.
pub(crate) fn not_cancelled(state: Option<&str>) -> Result<Cancelled, StoreError> {
    let Some(state) = state else { return Ok(Cancelled::Unknown) };
    match CommandState::from_name(state).ok_or(StoreError::Corrupt("a command"))? {
        CommandState::Cancelled => Ok(Cancelled::Done(Vec::new())),
        state => Ok(Cancelled::TooLate(state)),
    }
}

/// The commands, each once, in their order.
pub(crate) fn distinct(commands: &[Scheduled]) -> Vec<&Scheduled> {
    let mut keys = HashSet::with_capacity(commands.len());
    commands.iter().filter(|command| keys.insert((&command.tenant, &command.id))).collect()
}

/// A command's state, once it is known.
#[derive(FromRow)]
pub(crate) struct StateRow {
    pub(crate) tenant: String,
    pub(crate) id: String,
    pub(crate) state: String,
}

/// The commands that wait.
pub(crate) struct Waiting(HashSet<(String, String)>);

impl Waiting {
    pub(crate) fn of(rows: Vec<StateRow>) -> Self {
        let queued = rows.into_iter().filter(|row| row.state == CommandState::Queued.as_str());
        Self(queued.map(|row| (row.tenant, row.id)).collect())
    }

    pub(crate) fn has(&self, command: &Scheduled) -> bool {
        self.0.contains(&(command.tenant.to_string(), command.id.to_string()))
    }
}

/// Headers, as the databases keep them.
pub(crate) fn headers_of(command: &Scheduled) -> String {
    serde_json::to_string(&command.headers).expect("pairs of texts are JSON")
}

/// A command that is due.
#[derive(FromRow)]
pub(crate) struct ScheduledRow {
    tenant: String,
    id: String,
    channel: String,
    lane: String,
    due: Moment,
    place: i64,
    payload: Vec<u8>,
    headers: String,
    user_key: Option<String>,
    callback_data: Option<String>,
}

impl TryFrom<ScheduledRow> for Scheduled {
    type Error = StoreError;

    fn try_from(row: ScheduledRow) -> Result<Self, StoreError> {
        let corrupt = || StoreError::Corrupt("a scheduled command");
        Ok(Self {
            tenant: row.tenant.parse().map_err(|_| corrupt())?,
            channel: row.channel.parse().map_err(|_| corrupt())?,
            id: row.id.parse().map_err(|_| corrupt())?,
            lane: row.lane.parse().map_err(|_| corrupt())?,
            user: row.user_key.unwrap_or_default(),
            callback_data: row.callback_data,
            due: row.due.into(),
            payload: row.payload,
            headers: serde_json::from_str(&row.headers).map_err(|_| corrupt())?,
        })
    }
}

/// The commands in the order in which they are due.
pub(crate) fn by_time(mut rows: Vec<ScheduledRow>) -> Result<Vec<Scheduled>, StoreError> {
    rows.sort_unstable_by_key(|row| (row.due, row.place));
    rows.into_iter().map(TryInto::try_into).collect()
}
