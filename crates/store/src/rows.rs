//! Batches as both databases take them: each row once, and in an order that two writers share.
//!
//! Rows are sorted by their key, byte by byte, so that two statements that meet never wait for each other in a circle.
//! PostgreSQL's text cannot hold the character U+0000; it is replaced here, for both databases alike.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use staffetta_domain::{CommandId, Event, Leaf, MessageState, MessageUpdate, Object, TenantId};

use crate::moment::Moment;
use crate::types::{Announcement, Claim, Outcome, Settlement};

/// Text that both databases can hold.
pub(crate) fn storable(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "\u{fffd}").into() } else { text.into() }
}

fn storable_option(text: Option<&str>) -> Option<Cow<'_, str>> {
    text.map(storable)
}

/// An event that may be told.
pub(crate) struct EventRow<'a> {
    pub(crate) event: &'a Event,
    pub(crate) subject: Cow<'a, str>,
    pub(crate) data: String,
    pub(crate) command: Option<&'a CommandId>,
    /// It is told only if its command moves.
    pub(crate) conditional: bool,
}

impl<'a> EventRow<'a> {
    fn new(event: &'a Event, command: Option<&'a CommandId>) -> Self {
        let data = serde_json::to_string(&event.data).expect("an object of JSON values is JSON");
        Self { event, subject: storable(&event.subject), data, command, conditional: false }
    }

    fn of_command(event: &'a Event, command: &'a CommandId) -> Self {
        Self { conditional: true, ..Self::new(event, Some(command)) }
    }

    /// The tenant and the command, for an event that depends on one.
    pub(crate) fn key(&self) -> (&str, &str) {
        (self.event.tenant.as_str(), self.command.map_or("", CommandId::as_str))
    }

    /// The event as it was committed: just what [`unannounced`](crate::Store::unannounced) would read.
    pub(crate) fn announce(&self, seq: i64, callback_data: Option<String>) -> Announcement {
        let mut event = self.event.clone();
        event.subject = self.subject.clone().into_owned();
        event.time = Moment::from(event.time).into();
        complete(&mut event.data, self.command.map(CommandId::as_str), callback_data);
        Announcement { seq, event }
    }
}

/// Adds what a tenant needs to recognise its command.
pub(crate) fn complete(data: &mut Object, command: Option<&str>, callback_data: Option<String>) {
    if let Some(command) = command {
        data.insert("command_id".into(), command.into());
    }
    if let Some(callback_data) = callback_data {
        data.insert("callback_data".into(), callback_data.into());
    }
}

/// A command that a status proves to have been accepted.
pub(crate) struct Proof<'a> {
    pub(crate) tenant: &'a TenantId,
    pub(crate) command: &'a CommandId,
    pub(crate) wamid: Option<Cow<'a, str>>,
}

/// What is known of one message.
pub(crate) struct MessageRow<'a> {
    pub(crate) tenant: &'a str,
    pub(crate) channel: &'a str,
    pub(crate) wamid: Cow<'a, str>,
    pub(crate) user: Option<Cow<'a, str>>,
    pub(crate) kind: Option<Cow<'a, str>>,
    pub(crate) content: Option<String>,
    pub(crate) state: MessageState,
    pub(crate) command: Option<&'a CommandId>,
    pub(crate) at: Option<Moment>,
}

impl<'a> MessageRow<'a> {
    fn of_leaf(event: &'a Event, update: &'a MessageUpdate) -> Self {
        Self {
            tenant: event.tenant.as_str(),
            channel: event.channel.as_str(),
            wamid: storable(update.wamid.as_str()),
            user: storable_option(update.user.as_deref()),
            kind: storable_option(update.kind.as_deref()),
            content: update.content.as_ref().map(ToString::to_string),
            state: update.state,
            command: update.command.as_ref(),
            at: Some(update.at.into()),
        }
    }

    pub(crate) fn direction(&self) -> &'static str {
        if self.state == MessageState::Received { "in" } else { "out" }
    }

    /// Takes in another update of the same message, as the database does with a row that it already has.
    fn merge(&mut self, other: Self) {
        self.state = self.state.max(other.state);
        self.user = self.user.take().or(other.user);
        self.kind = self.kind.take().or(other.kind);
        self.content = self.content.take().or(other.content);
        self.command = self.command.or(other.command);
        self.at = self.at.into_iter().chain(other.at).min();
    }
}

/// What a batch of leaves writes.
pub(crate) struct Recording<'a> {
    /// In the order of the leaves, each id once, an `accepted` right before the status that proves it.
    pub(crate) events: Vec<EventRow<'a>>,
    /// Sorted by key, each key once.
    pub(crate) proofs: Vec<Proof<'a>>,
    /// Sorted by key, each key once.
    pub(crate) messages: Vec<MessageRow<'a>>,
}

impl<'a> Recording<'a> {
    pub(crate) fn of(leaves: &'a [Leaf]) -> Self {
        let mut events = Vec::with_capacity(leaves.len());
        let mut ids = HashSet::with_capacity(leaves.len());
        let mut proofs = BTreeMap::new();
        let mut messages: BTreeMap<(&str, Cow<'_, str>), MessageRow<'_>> = BTreeMap::new();
        for leaf in leaves {
            if let Some(settles) = &leaf.settles {
                let key = (&leaf.event.tenant, &settles.command);
                proofs.entry(key).or_insert_with(|| {
                    if ids.insert(&settles.accepted.id) {
                        events.push(EventRow::of_command(&settles.accepted, &settles.command));
                    }
                    let wamid = leaf.message.as_ref().map(|message| storable(message.wamid.as_str()));
                    Proof { tenant: key.0, command: key.1, wamid }
                });
            }
            if ids.insert(&leaf.event.id) {
                let command = leaf.message.as_ref().and_then(|message| message.command.as_ref());
                events.push(EventRow::new(&leaf.event, command));
            }
            if let Some(update) = &leaf.message {
                let row = MessageRow::of_leaf(&leaf.event, update);
                match messages.get_mut(&(row.channel, row.wamid.clone())) {
                    Some(known) => known.merge(row),
                    None => {
                        messages.insert((row.channel, row.wamid.clone()), row);
                    }
                }
            }
        }
        Self { events, proofs: proofs.into_values().collect(), messages: messages.into_values().collect() }
    }
}

/// A claim's texts, fit for the database.
pub(crate) struct ClaimRow<'a> {
    pub(crate) claim: &'a Claim,
    pub(crate) user: Cow<'a, str>,
    pub(crate) kind: Cow<'a, str>,
    pub(crate) content: Cow<'a, str>,
    pub(crate) callback_data: Option<Cow<'a, str>>,
}

/// What a batch of claims writes.
pub(crate) struct Claiming<'a> {
    /// Sorted by key, each key once.
    pub(crate) rows: Vec<ClaimRow<'a>>,
    /// The `in_doubt` events, in the order of the claims, one for each row.
    pub(crate) events: Vec<EventRow<'a>>,
}

impl<'a> Claiming<'a> {
    pub(crate) fn of(claims: &'a [Claim]) -> Self {
        let mut rows = BTreeMap::new();
        let mut events = Vec::with_capacity(claims.len());
        for claim in claims {
            rows.entry((&claim.tenant, &claim.id)).or_insert_with(|| {
                events.push(EventRow::of_command(&claim.in_doubt, &claim.id));
                ClaimRow {
                    claim,
                    user: storable(&claim.user),
                    kind: storable(&claim.kind),
                    content: storable(&claim.content),
                    callback_data: storable_option(claim.callback_data.as_deref()),
                }
            });
        }
        Self { rows: rows.into_values().collect(), events }
    }
}

/// An outcome's texts, fit for the database.
pub(crate) struct OutcomeRow<'a> {
    pub(crate) outcome: &'a Outcome,
    pub(crate) user: Option<Cow<'a, str>>,
    pub(crate) reason: Option<Cow<'a, str>>,
    pub(crate) wamid: Option<Cow<'a, str>>,
}

impl OutcomeRow<'_> {
    /// The try does not count.
    pub(crate) fn postponed(&self) -> bool {
        matches!(self.outcome.settlement, Settlement::Postponed(_))
    }

    /// When the missing answer's request was made, as far as an outcome without a claim can tell.
    pub(crate) fn claimed(&self) -> Option<Moment> {
        matches!(self.outcome.settlement, Settlement::InDoubt(_)).then(|| self.at())
    }

    pub(crate) fn at(&self) -> Moment {
        self.outcome.at.into()
    }
}

/// What a batch of outcomes writes.
pub(crate) struct Settling<'a> {
    /// Sorted by key, each key once.
    pub(crate) rows: Vec<OutcomeRow<'a>>,
    /// In the order of the outcomes.
    pub(crate) events: Vec<EventRow<'a>>,
    /// The messages that were accepted: sorted by key, each key once. Their kind and content are the command's.
    pub(crate) messages: Vec<MessageRow<'a>>,
}

impl<'a> Settling<'a> {
    pub(crate) fn of(outcomes: &'a [Outcome]) -> Self {
        let mut rows = BTreeMap::new();
        let mut events = Vec::with_capacity(outcomes.len());
        let mut messages = BTreeMap::new();
        for outcome in outcomes {
            rows.entry((&outcome.tenant, &outcome.id)).or_insert_with(|| {
                events.extend(outcome.event.iter().map(|event| EventRow::of_command(event, &outcome.id)));
                let wamid = match &outcome.settlement {
                    Settlement::Accepted(wamid) => Some(storable(wamid.as_str())),
                    _ => None,
                };
                let user = storable_option(outcome.user.as_deref());
                if let Some(wamid) = &wamid {
                    let row = accepted_message(outcome, wamid.clone(), user.clone());
                    messages.entry((row.channel, wamid.clone())).or_insert(row);
                }
                OutcomeRow { outcome, user, reason: storable_option(outcome.settlement.reason()), wamid }
            });
        }
        Self { rows: rows.into_values().collect(), events, messages: messages.into_values().collect() }
    }
}

/// The provider's time is left to the statuses, and the content to the command.
fn accepted_message<'a>(
    outcome: &'a Outcome,
    wamid: Cow<'a, str>,
    user: Option<Cow<'a, str>>,
) -> MessageRow<'a> {
    MessageRow {
        tenant: outcome.tenant.as_str(),
        channel: outcome.channel.as_str(),
        wamid,
        user,
        kind: None,
        content: None,
        state: MessageState::Accepted,
        command: Some(&outcome.id),
        at: None,
    }
}
