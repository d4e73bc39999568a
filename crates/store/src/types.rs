//! What goes into the store and what comes back.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use staffetta_domain::{
    ChannelId, CommandId, CommandState, ConversationId, Event, Lane, MessageState, Reach, TenantId,
    TraceParent, Wamid,
};

/// How to reach the database.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Most connections that are open at a time (PostgreSQL).
    pub max_connections: u32,
    /// Longest wait for a connection, and for the answer to one statement.
    pub timeout: Duration,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { max_connections: 8, timeout: Duration::from_secs(10) }
    }
}

/// Why the store could not do it. None of its texts holds personal data.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The address is not one that the store knows.
    #[error("database.url must begin with sqlite: or postgres:")]
    UnknownDatabase,
    /// The database is away, too slow or out of connections: the same call may succeed later.
    #[error("the database did not answer")]
    Unavailable(#[source] sqlx::Error),
    /// The database refused the statement: the same call will not succeed.
    #[error("the database refused a statement")]
    Refused(#[source] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("the database's schema could not be brought up to date")]
    Migration(#[source] sqlx::migrate::MigrateError),
    /// A row holds what no version of this code writes.
    #[error("the database holds {0} that cannot be read")]
    Corrupt(&'static str),
}

/// An event that the store has committed and that has to be told on EVENTS. Its data is complete: the command's id
/// and the tenant's `callback_data` are in it where the event belongs to a command.
///
/// An event of a conversation says so: `conversation_id` and `sequence` are in its data. The first event of a
/// conversation that has taken in others also has `merged`: a list of `conversation_id` and `sequence`, each the last
/// that was told under that id.
#[derive(Clone, Debug)]
pub struct Announcement {
    /// The event's place in the outbox: what [`Store::announced`](crate::Store::announced) takes.
    pub place: OutboxPlace,
    /// The conversation whose events must be told one after the other, if the event belongs to one.
    pub conversation: Option<ConversationId>,
    /// The event.
    pub event: Event,
}

/// Where a committed event waits until it is announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OutboxPlace {
    /// The batch that it was committed with.
    pub batch: i64,
    /// The event's own number.
    pub seq: i64,
}

/// A command that is about to be sent, for the store to grant or to refuse.
#[derive(Clone)]
pub struct Claim {
    /// Whose command it is.
    pub tenant: TenantId,
    /// From which channel.
    pub channel: ChannelId,
    /// The tenant's idempotency key.
    pub id: CommandId,
    /// How urgent it is.
    pub lane: Lane,
    /// The recipient's number or business-scoped id.
    pub user: String,
    /// The Cloud API's `type`.
    pub kind: String,
    /// The message, as JSON.
    pub content: String,
    /// The tenant's own text.
    pub callback_data: Option<String>,
    /// The claiming owner: a number that grows with each change of ownership.
    pub epoch: i64,
    /// The entry of the queue. The same owner claiming the same entry again gets the same answer, so that a claim
    /// whose answer was lost can be repeated; another entry of the same command is a copy.
    pub sequence: i64,
    /// Now.
    pub at: Timestamp,
    /// The `in_doubt` event to tell if the command turns out to be in doubt.
    pub in_doubt: Event,
    /// The work on it, in its trace: every event of the command belongs there from now on, unless an earlier claim
    /// brought a trace.
    pub trace: Option<TraceParent>,
}

/// What became of a [`Claim`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// Send it; this is try number `attempt`, from 1.
    Granted {
        /// Which try.
        attempt: u32,
        /// Whether an earlier try may have been sent: it was in doubt, and nothing has settled it.
        perhaps_sent: bool,
        /// What is known of its recipient.
        user: Standing,
    },
    /// Don't send it: another copy of the command is being sent, or was, or the command ended otherwise.
    Known(CommandState),
    /// Don't send it yet: an earlier owner may have sent it, and nobody knows the answer.
    InDoubt {
        /// The try whose answer is missing.
        attempt: u32,
        /// When that try was claimed.
        since: Timestamp,
    },
}

/// How a channel and a user stand with each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// When the user last wrote or called, by the provider's time; `None` if never.
    pub wrote: Option<Timestamp>,
    /// The last refusal that concerns every message to the user.
    pub held: Option<Refused>,
    /// The last refusal that concerns marketing messages, unless the user has agreed to them since.
    pub muted: Option<Refused>,
    /// Whether the tenant has a contact of the user's number whose WhatsApp switch is off.
    pub switched_off: bool,
}

/// A refusal that lies with the user: see [`Reach`](staffetta_domain::Reach).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The Cloud API's code.
    pub code: i64,
    /// When it came: by the provider's time if that is known, by ours otherwise.
    pub at: Timestamp,
    /// The template that was refused, if it was one and its name is known.
    pub template: Option<String>,
}

/// A message that left for one user lately.
#[derive(Clone)]
pub struct RecentSend {
    /// The user's phone number, digits alone, if it is known.
    pub phone: Option<String>,
    /// The user's business-scoped id, if it is known.
    pub user: Option<String>,
    /// When.
    pub at: Timestamp,
}

impl fmt::Debug for RecentSend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecentSend").field("at", &self.at).finish_non_exhaustive()
    }
}

/// Why a channel has stopped sending, until somebody acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelHold {
    /// Whose channel it is.
    pub tenant: TenantId,
    /// The channel.
    pub channel: ChannelId,
    /// The class of the refusal, as `token`.
    pub class: String,
    /// The provider's code.
    pub code: i64,
    /// The provider's words, without personal data.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
}

/// A command that is to be put on SEND at a later time.
#[derive(Clone)]
pub struct Scheduled {
    /// Whose command it is.
    pub tenant: TenantId,
    /// From which channel.
    pub channel: ChannelId,
    /// The tenant's idempotency key.
    pub id: CommandId,
    /// How urgent it is.
    pub lane: Lane,
    /// The recipient's number or business-scoped id.
    pub user: String,
    /// The tenant's own text.
    pub callback_data: Option<String>,
    /// When it is to be sent.
    pub due: Timestamp,
    /// The command as it was published.
    pub payload: Vec<u8>,
    /// The headers that it was published with: names and values, in order.
    pub headers: Vec<(String, String)>,
}

impl fmt::Debug for Scheduled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scheduled")
            .field("tenant", &self.tenant)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// What became of the wish to take a command back.
#[derive(Clone, Debug)]
pub enum Cancelled {
    /// It will not be sent; its `cancelled` event is to be told. Nothing to tell if it was cancelled before.
    Done(Vec<Announcement>),
    /// It has left, is about to, or has ended otherwise: nothing was done.
    TooLate(CommandState),
    /// Nobody has seen such a command.
    Unknown,
}

/// How a command's try, or the command, ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Whose command it is.
    pub tenant: TenantId,
    /// From which channel.
    pub channel: ChannelId,
    /// How urgent it is.
    pub lane: Lane,
    /// The command.
    pub id: CommandId,
    /// Who says so. What an owner says that another one has followed does not count, but for facts: an acceptance,
    /// whoever learns of it; and that nothing was sent, from whoever was granted the try, as long as the other one has
    /// not been granted another.
    pub epoch: i64,
    /// The recipient's number or business-scoped id, if it could be read.
    pub user: Option<String>,
    /// What the provider calls the recipient, if it said: the number may be spelled otherwise.
    pub called: Option<String>,
    /// Now. That nothing was sent does not count for a try that was claimed later than this.
    pub at: Timestamp,
    /// The new state.
    pub settlement: Settlement,
    /// The event to tell if the outcome takes effect: all but a retry have one.
    pub event: Option<Event>,
    /// What the outcome says of whether its user can be written to. Kept if its event is told, of somebody who was
    /// never reached too: then the event begins a conversation.
    pub reach: Option<Reach>,
}

/// The state that an [`Outcome`] leads to.
#[derive(Clone)]
pub enum Settlement {
    /// The provider took it and named it.
    Accepted(Wamid),
    /// Nothing was sent, or nobody knows and it is sent again all the same: it waits for another try. The text says
    /// why, without personal data. The try counts.
    Retry(String),
    /// Nothing was sent and it was not the command's fault: it waits, and the try does not count.
    Postponed(String),
    /// The answer is missing.
    InDoubt(String),
    /// Staffetta refused it before anything was sent, and why.
    Rejected(String),
    /// The provider refused it for good, or its tries are used up, and why the last one failed.
    Failed(String),
    /// Its time ran out.
    Expired,
}

impl Settlement {
    /// The command's state afterwards.
    pub fn state(&self) -> CommandState {
        match self {
            Self::Accepted(_) => CommandState::Accepted,
            Self::Retry(_) | Self::Postponed(_) => CommandState::Queued,
            Self::InDoubt(_) => CommandState::InDoubt,
            Self::Rejected(_) => CommandState::Rejected,
            Self::Failed(_) => CommandState::Failed,
            Self::Expired => CommandState::Expired,
        }
    }

    /// Why, for a person; `None` where the state says it all.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Accepted(_) | Self::Expired => None,
            Self::Retry(why)
            | Self::Postponed(why)
            | Self::InDoubt(why)
            | Self::Rejected(why)
            | Self::Failed(why) => Some(why),
        }
    }
}

impl fmt::Debug for Settlement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.state().as_str())
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim").field("tenant", &self.tenant).field("id", &self.id).finish_non_exhaustive()
    }
}

/// A command that was put on SEND over HTTP, so that it can be asked for before the dispatcher has seen it.
#[derive(Clone)]
pub struct NewCommand {
    /// Whose command it is.
    pub tenant: TenantId,
    /// From which channel.
    pub channel: ChannelId,
    /// The tenant's idempotency key.
    pub id: CommandId,
    /// How urgent it is.
    pub lane: Lane,
    /// The recipient's number or business-scoped id.
    pub user: String,
    /// The tenant's own text.
    pub callback_data: Option<String>,
    /// Now.
    pub at: Timestamp,
}

impl fmt::Debug for NewCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewCommand")
            .field("tenant", &self.tenant)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// A command as the store knows it.
#[derive(Clone, PartialEq, Eq)]
pub struct CommandRecord {
    /// The tenant's idempotency key.
    pub id: CommandId,
    /// From which channel.
    pub channel: ChannelId,
    /// How urgent it is.
    pub lane: Lane,
    /// The recipient's number or business-scoped id, if it is known.
    pub user: Option<String>,
    /// The tenant's own text.
    pub callback_data: Option<String>,
    /// How far the command has come.
    pub state: CommandState,
    /// How far its message has come, once the provider took it.
    pub message: Option<MessageState>,
    /// The provider's id of the message.
    pub wamid: Option<Wamid>,
    /// Tries so far.
    pub attempt: u32,
    /// Why it is where it is.
    pub reason: Option<String>,
    /// When it is to be sent, if it waits for that.
    pub send_at: Option<Timestamp>,
    /// When the store first saw it.
    pub created: Timestamp,
    /// When it last moved.
    pub updated: Timestamp,
}

impl fmt::Debug for CommandRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommandRecord")
            .field("id", &self.id)
            .field("state", &self.state)
            .field("message", &self.message)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}
