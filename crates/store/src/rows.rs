//! Rows as both databases take them: each once, and in an order that two writers share.
//!
//! Rows are sorted by their key, byte by byte, so that two statements that meet never wait for each other in a circle.
//! PostgreSQL's text cannot hold the character U+0000; it is replaced here, for both databases alike.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::Value;
use staffetta_domain::{Alias, ConversationId, Direction, Event, MessageState, Object, TraceParent};

use crate::moment::Moment;
use crate::types::{Announcement, OutboxPlace};

/// Text that both databases can hold.
pub(crate) fn storable(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "\u{fffd}").into() } else { text.into() }
}

/// An alias as both databases keep it.
pub(crate) fn alias_key(alias: &Alias) -> String {
    storable(&alias.key()).into_owned()
}

/// An event's place in its conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) conversation: i64,
    pub(crate) sequence: i64,
}

/// An event to be told.
pub(crate) struct EventRow<'a> {
    pub(crate) seq: i64,
    pub(crate) event: &'a Event,
    pub(crate) subject: Cow<'a, str>,
    pub(crate) text: Arc<str>,
    /// The ends of the conversations that went into the event's own.
    pub(crate) merged: Option<Value>,
    pub(crate) command: Option<&'a str>,
    pub(crate) callback_data: Option<&'a str>,
    pub(crate) turn: Option<Turn>,
    /// Its command's trace if that has one, else its own.
    pub(crate) trace: Option<TraceParent>,
}

impl EventRow<'_> {
    /// The event as it was committed: just what [`unannounced`](crate::Store::unannounced) would read.
    pub(crate) fn announce(self, batch: i64) -> Announcement {
        let mut data = self.event.data.clone();
        if let Some(merged) = self.merged {
            data.insert("merged".into(), merged);
        }
        complete(&mut data, self.command, self.callback_data.map(str::to_owned), self.turn);
        let event = Event {
            id: self.event.id.clone(),
            tenant: self.event.tenant.clone(),
            channel: self.event.channel.clone(),
            kind: self.event.kind,
            time: Moment::from(self.event.time).into(),
            subject: self.subject.into_owned(),
            data,
            trace: self.trace,
        };
        let place = OutboxPlace { batch, seq: self.seq };
        let conversation = self.turn.map(|turn| ConversationId::of_number(turn.conversation));
        Announcement { place, conversation, event }
    }
}

/// Adds what a tenant needs to recognise its command, and to see what comes before and after.
pub(crate) fn complete(
    data: &mut Object,
    command: Option<&str>,
    callback_data: Option<String>,
    turn: Option<Turn>,
) {
    if let Some(command) = command {
        data.insert("command_id".into(), command.into());
    }
    if let Some(callback_data) = callback_data {
        data.insert("callback_data".into(), callback_data.into());
    }
    if let Some(turn) = turn {
        let conversation = ConversationId::of_number(turn.conversation);
        data.insert("conversation_id".into(), conversation.to_string().into());
        data.insert("sequence".into(), turn.sequence.into());
    }
}

/// What new events say of one message.
pub(crate) struct MessageRow<'a> {
    pub(crate) tenant: &'a str,
    pub(crate) channel: &'a str,
    pub(crate) wamid: Cow<'a, str>,
    pub(crate) conversation: Option<i64>,
    pub(crate) direction: Direction,
    pub(crate) kind: Option<Cow<'a, str>>,
    pub(crate) state: MessageState,
    pub(crate) command: Option<&'a str>,
    pub(crate) at: Moment,
    pub(crate) timed: bool,
    pub(crate) place: i64,
    pub(crate) content_seq: Option<i64>,
    pub(crate) edit: Option<(Moment, i64)>,
    pub(crate) withdrawn_at: Option<Moment>,
    pub(crate) steps: Vec<i64>,
}

impl MessageRow<'_> {
    /// Takes in what a later event of the batch says, as the database does with a row that it already has.
    pub(crate) fn merge(&mut self, other: Self) {
        self.conversation = self.conversation.or(other.conversation);
        // A file that was announced by a placeholder takes its place.
        if self.kind.as_deref() == Some("media_placeholder") && other.content_seq.is_some() {
            (self.kind, self.content_seq) = (None, None);
        }
        self.kind = self.kind.take().or(other.kind);
        self.state = self.state.max(other.state);
        self.command = self.command.or(other.command);
        (self.at, self.timed) = match (self.timed, other.timed) {
            (true, true) => (self.at.min(other.at), true),
            (false, true) => (other.at, true),
            (timed, false) => (self.at, timed),
        };
        self.content_seq = self.content_seq.or(other.content_seq);
        self.edit = self.edit.max(other.edit);
        self.withdrawn_at = self.withdrawn_at.into_iter().chain(other.withdrawn_at).min();
        self.steps.extend(other.steps);
    }
}

/// What new events do to one conversation.
#[derive(Default)]
pub(crate) struct ConversationRow<'a> {
    pub(crate) sequence: i64,
    pub(crate) unread: i32,
    pub(crate) wrote_at: Option<Moment>,
    pub(crate) last: Option<(Moment, i64, Cow<'a, str>)>,
    pub(crate) named: Option<Naming<'a>>,
    pub(crate) held: Option<Refusal<'a>>,
    pub(crate) muted: Option<Refusal<'a>>,
}

impl ConversationRow<'_> {
    /// Whether the events say anything of whether the user can be written to.
    pub(crate) fn rules(&self) -> bool {
        self.held.is_some() || self.muted.is_some()
    }
}

/// That the user can't be written to; without a code, that the user can be again.
pub(crate) struct Refusal<'a> {
    pub(crate) at: Moment,
    pub(crate) code: Option<i64>,
    pub(crate) template: Option<Cow<'a, str>>,
}

/// What the user was called, and when.
pub(crate) struct Naming<'a> {
    pub(crate) at: Moment,
    pub(crate) name: Option<Cow<'a, str>>,
    pub(crate) username: Option<Cow<'a, str>>,
}
