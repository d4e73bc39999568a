//! Rows as both databases give them back.

use std::collections::{HashMap, HashSet};

use serde_json::Value;
use sqlx::FromRow;
use staffetta_domain::{
    CommandId, CommandState, ConversationId, Event, EventId, EventType, MessageState, TenantId, TraceParent,
};

use crate::batch::{CommandFacts, Facts};
use crate::moment::Moment;
use crate::rows::{Turn, complete};
use crate::types::{Announcement, Claim, Claimed, CommandRecord, OutboxPlace, Refused, Standing, StoreError};

/// What is known of a command that is named.
#[derive(FromRow)]
pub(crate) struct CommandFactsRow {
    tenant: String,
    id: String,
    user_key: Option<String>,
    kind: Option<String>,
    callback_data: Option<String>,
    traceparent: Option<String>,
    moved: bool,
    /// The message of a template whose name is wanted, as JSON.
    #[sqlx(default)]
    template: Option<String>,
}

/// A template's name.
fn name_of(template: &str) -> Option<String> {
    let template: Value = serde_json::from_str(template).ok()?;
    template.get("name")?.as_str().map(str::to_owned)
}

/// The trace that a row names. A text that is none is as good as nothing.
fn trace(text: Option<&str>) -> Option<TraceParent> {
    text?.parse().ok()
}

/// The same, by key.
pub(crate) fn facts(rows: Vec<CommandFactsRow>) -> CommandFacts {
    let entry = |row: CommandFactsRow| {
        let CommandFactsRow { tenant, id, user_key, kind, callback_data, traceparent, moved, template } = row;
        let template = template.as_deref().and_then(name_of);
        let trace = trace(traceparent.as_deref());
        ((tenant, id), Facts { moved, user: user_key, kind, callback_data, template, trace })
    };
    rows.into_iter().map(entry).collect()
}

/// An event that was told to the database before.
#[derive(FromRow)]
pub(crate) struct EventRecord {
    batch: i64,
    seq: i64,
    id: String,
    tenant: String,
    channel: String,
    r#type: String,
    subject: String,
    time: Moment,
    data: String,
    command_id: Option<String>,
    callback_data: Option<String>,
    conversation: Option<i64>,
    sequence: Option<i64>,
    traceparent: Option<String>,
}

impl TryFrom<EventRecord> for Announcement {
    type Error = StoreError;

    fn try_from(row: EventRecord) -> Result<Self, StoreError> {
        let corrupt = || StoreError::Corrupt("an event");
        let mut data = serde_json::from_str(&row.data).map_err(|_| corrupt())?;
        let turn = row.conversation.zip(row.sequence);
        let turn = turn.map(|(conversation, sequence)| Turn { conversation, sequence });
        complete(&mut data, row.command_id.as_deref(), row.callback_data, turn);
        let event = Event {
            id: EventId::kept(&row.id),
            tenant: row.tenant.parse().map_err(|_| corrupt())?,
            channel: row.channel.parse().map_err(|_| corrupt())?,
            kind: EventType::from_name(&row.r#type).ok_or_else(corrupt)?,
            time: row.time.into(),
            subject: row.subject,
            data,
            trace: trace(row.traceparent.as_deref()),
        };
        let place = OutboxPlace { batch: row.batch, seq: row.seq };
        Ok(Self { place, conversation: row.conversation.map(ConversationId::of_number), event })
    }
}

/// What a command `c`, its message `m` and its place `s` in the schedule say: columns of both databases.
macro_rules! command {
    () => {
        "c.tenant, c.id, c.channel, c.lane, c.user_key, c.callback_data, c.state, m.state AS message, c.wamid,
         c.attempt, c.reason, s.due, c.created_at, c.updated_at"
    };
}
pub(crate) use command;

/// A command that was asked for, with the state of its message.
#[derive(Clone, FromRow)]
pub(crate) struct CommandRow {
    tenant: String,
    id: String,
    channel: String,
    lane: String,
    user_key: Option<String>,
    callback_data: Option<String>,
    state: String,
    message: Option<i16>,
    wamid: Option<String>,
    attempt: i32,
    reason: Option<String>,
    due: Option<Moment>,
    created_at: Moment,
    updated_at: Moment,
}

/// The commands of `keys`, in their order.
pub(crate) fn in_order(
    keys: &[(TenantId, CommandId)],
    rows: Vec<CommandRow>,
) -> Result<Vec<Option<CommandRecord>>, StoreError> {
    let rows: HashMap<_, _> = rows.iter().map(|row| ((row.tenant.as_str(), row.id.as_str()), row)).collect();
    let record = |(tenant, id): &(TenantId, CommandId)| {
        rows.get(&(tenant.as_str(), id.as_str())).map(|row| (*row).clone().try_into()).transpose()
    };
    keys.iter().map(record).collect()
}

impl TryFrom<CommandRow> for CommandRecord {
    type Error = StoreError;

    fn try_from(row: CommandRow) -> Result<Self, StoreError> {
        let corrupt = || StoreError::Corrupt("a command");
        let message =
            row.message.map(|rank| MessageState::from_rank(rank).ok_or_else(corrupt)).transpose()?;
        let wamid = row.wamid.map(|wamid| wamid.parse().map_err(|_| corrupt())).transpose()?;
        Ok(Self {
            id: row.id.parse().map_err(|_| corrupt())?,
            channel: row.channel.parse().map_err(|_| corrupt())?,
            lane: row.lane.parse().map_err(|_| corrupt())?,
            user: row.user_key.filter(|user| !user.is_empty()),
            callback_data: row.callback_data,
            state: CommandState::from_name(&row.state).ok_or_else(corrupt)?,
            message,
            wamid,
            attempt: u32::try_from(row.attempt).map_err(|_| corrupt())?,
            reason: row.reason,
            send_at: row.due.map(Into::into),
            created: row.created_at.into(),
            updated: row.updated_at.into(),
        })
    }
}

/// What a claimed row is now.
#[derive(FromRow)]
pub(crate) struct ClaimedRow {
    pub(crate) tenant: String,
    pub(crate) id: String,
    pub(crate) state: String,
    pub(crate) attempt: i32,
    pub(crate) since: Moment,
    pub(crate) moved: bool,
    pub(crate) perhaps_sent: bool,
    pub(crate) user_key: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) callback_data: Option<String>,
    pub(crate) traceparent: Option<String>,
}

/// How a channel and a user stand with each other.
#[derive(FromRow)]
pub(crate) struct StandingRow {
    wrote_at: Option<Moment>,
    held_code: Option<i64>,
    held_at: Option<Moment>,
    held_template: Option<String>,
    muted_code: Option<i64>,
    muted_at: Option<Moment>,
    muted_template: Option<String>,
    switched_off: bool,
}

impl From<StandingRow> for Standing {
    fn from(row: StandingRow) -> Self {
        let refused = |code: Option<i64>, at: Option<Moment>, template| {
            code.zip(at).map(|(code, at)| Refused { code, at: at.into(), template })
        };
        Self {
            wrote: row.wrote_at.map(Into::into),
            held: refused(row.held_code, row.held_at, row.held_template),
            muted: refused(row.muted_code, row.muted_at, row.muted_template),
            switched_off: row.switched_off,
        }
    }
}

/// What is known of the users of commands, by tenant and command.
pub(crate) type Standings = HashMap<(String, String), Standing>;

/// The answers to `claims`, in their order: the first claim of a command gets the row's, the others what it found.
pub(crate) fn answers(
    claims: &[Claim],
    rows: &[ClaimedRow],
    mut standings: Standings,
) -> Result<Vec<Claimed>, StoreError> {
    let corrupt = || StoreError::Corrupt("a command");
    let rows: HashMap<_, _> = rows.iter().map(|row| ((row.tenant.as_str(), row.id.as_str()), row)).collect();
    let mut answered = HashSet::with_capacity(rows.len());
    let answer = |claim: &Claim| {
        let row = rows.get(&(claim.tenant.as_str(), claim.id.as_str())).ok_or_else(corrupt)?;
        let first = answered.insert((&row.tenant, &row.id));
        let state = CommandState::from_name(&row.state).ok_or_else(corrupt)?;
        if !first || !row.moved {
            return Ok(Claimed::Known(state));
        }
        let attempt = u32::try_from(row.attempt).map_err(|_| corrupt())?;
        Ok(match state {
            CommandState::Sending => {
                let user = standings.remove(&(row.tenant.clone(), row.id.clone())).unwrap_or_default();
                Claimed::Granted { attempt, perhaps_sent: row.perhaps_sent, user }
            }
            CommandState::InDoubt => Claimed::InDoubt { attempt, since: row.since.into() },
            state => Claimed::Known(state),
        })
    };
    claims.iter().map(answer).collect()
}

/// What is known of the claimed commands: moved are those that their claim put in doubt.
pub(crate) fn doubts(rows: &[ClaimedRow]) -> CommandFacts {
    let entry = |row: &ClaimedRow| {
        let facts = Facts {
            moved: row.moved && row.state == CommandState::InDoubt.as_str(),
            user: row.user_key.clone(),
            kind: row.kind.clone(),
            callback_data: row.callback_data.clone(),
            template: None,
            trace: trace(row.traceparent.as_deref()),
        };
        ((row.tenant.clone(), row.id.clone()), facts)
    };
    rows.iter().map(entry).collect()
}
