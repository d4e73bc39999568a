//! Rows as both databases give them back.

use std::collections::{HashMap, HashSet};

use sqlx::FromRow;
use staffetta_domain::{CommandId, CommandState, Event, EventId, EventType, MessageState, TenantId};

use crate::moment::Moment;
use crate::rows::{EventRow, complete};
use crate::types::{Announcement, Claim, Claimed, CommandRecord, StoreError};

/// An event that was inserted.
#[derive(FromRow)]
pub(crate) struct Told {
    pub(crate) id: String,
    pub(crate) seq: i64,
    pub(crate) callback_data: Option<String>,
}

/// The announcements of the events that were inserted, in the order of `events`.
pub(crate) fn announcements(events: &[EventRow<'_>], told: Vec<Told>) -> Vec<Announcement> {
    let mut told: HashMap<String, Told> = told.into_iter().map(|told| (told.id.clone(), told)).collect();
    let announce = |row: &EventRow<'_>| {
        told.remove(row.event.id.as_str()).map(|told| row.announce(told.seq, told.callback_data))
    };
    events.iter().filter_map(announce).collect()
}

/// An event that was told to the database before.
#[derive(FromRow)]
pub(crate) struct EventRecord {
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
}

impl TryFrom<EventRecord> for Announcement {
    type Error = StoreError;

    fn try_from(row: EventRecord) -> Result<Self, StoreError> {
        let corrupt = || StoreError::Corrupt("an event");
        let mut data = serde_json::from_str(&row.data).map_err(|_| corrupt())?;
        complete(&mut data, row.command_id.as_deref(), row.callback_data);
        let event = Event {
            id: EventId::kept(&row.id),
            tenant: row.tenant.parse().map_err(|_| corrupt())?,
            channel: row.channel.parse().map_err(|_| corrupt())?,
            kind: EventType::from_name(&row.r#type).ok_or_else(corrupt)?,
            time: row.time.into(),
            subject: row.subject,
            data,
        };
        Ok(Self { seq: row.seq, event })
    }
}

/// A command that was asked for, with the state of its message.
#[derive(Clone, FromRow)]
pub(crate) struct CommandRow {
    tenant: String,
    id: String,
    channel: String,
    lane: String,
    state: String,
    message: Option<i16>,
    wamid: Option<String>,
    attempt: i32,
    reason: Option<String>,
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
            state: CommandState::from_name(&row.state).ok_or_else(corrupt)?,
            message,
            wamid,
            attempt: u32::try_from(row.attempt).map_err(|_| corrupt())?,
            reason: row.reason,
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
}

/// The answers to `claims`, in their order: the first claim of a command gets the row's, the others what it found.
pub(crate) fn answers(claims: &[Claim], rows: &[ClaimedRow]) -> Result<Vec<Claimed>, StoreError> {
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
            CommandState::Sending => Claimed::Granted { attempt },
            CommandState::InDoubt => Claimed::InDoubt { attempt, since: row.since.into() },
            state => Claimed::Known(state),
        })
    };
    claims.iter().map(answer).collect()
}

impl ClaimedRow {
    /// Whether this claim put the command in doubt.
    pub(crate) fn in_doubt(&self) -> bool {
        self.moved && self.state == CommandState::InDoubt.as_str()
    }
}
