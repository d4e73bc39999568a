//! Stores to test, and what goes into them.

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use staffetta_domain::{
    Alias, ChannelId, CommandId, CommandState, Direction, Event, EventId, EventType, Lane, Leaf,
    MessageState, Object, Settles, Sighting, TenantId, Touch, Wamid,
};
use staffetta_store::{
    Announcement, Claim, Claimed, CommandRecord, NewCommand, Outcome, Settlement, Standing, Store,
    StoreOptions,
};
use staffetta_testkit::Postgres;

/// Makes two tests of each `async fn(Store)`: one on SQLite, one on PostgreSQL.
macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let folder = tempfile::tempdir().unwrap();
                super::$name(crate::support::sqlite(folder.path()).await).await;
            })+
        }

        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(crate::support::postgres().await).await;
            })+
        }
    };
}
pub(crate) use on_both;

pub(crate) async fn sqlite(folder: &Path) -> Store {
    migrated(&sqlite_url(folder)).await
}

pub(crate) fn sqlite_url(folder: &Path) -> String {
    format!("sqlite:{}", folder.join("new/staffetta.db").display())
}

pub(crate) async fn postgres() -> Store {
    migrated(&postgres_url().await).await
}

pub(crate) async fn postgres_url() -> String {
    Postgres::shared().await.unwrap().database().await.unwrap().url().to_owned()
}

/// For tests in which no answer is late: however busy the machine, it comes within this.
pub(crate) fn patient() -> StoreOptions {
    StoreOptions { timeout: Duration::from_secs(120), ..StoreOptions::default() }
}

pub(crate) async fn migrated(url: &str) -> Store {
    let store = Store::connect(url, &patient()).await.unwrap();
    store.migrate().await.unwrap();
    store
}

pub(crate) fn tenant() -> TenantId {
    "acme".parse().unwrap()
}

pub(crate) fn channel() -> ChannelId {
    "acme-orders".parse().unwrap()
}

pub(crate) fn id(text: &str) -> CommandId {
    text.parse().unwrap()
}

pub(crate) fn wamid(text: &str) -> Wamid {
    text.parse().unwrap()
}

/// A moment of the tests' own: seconds after the first.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + seconds).unwrap()
}

/// Later than anything that a test records.
pub(crate) fn afterwards() -> Timestamp {
    Timestamp::now() + SignedDuration::from_hours(1)
}

pub(crate) fn event(kind: EventType, key: &[&str], subject: &str) -> Event {
    let data: Object =
        json!({"price": 1.5, "count": 18_446_744_073_709_551_615_u64, "text": "è \u{1f4e6} \0"})
            .as_object()
            .unwrap()
            .clone();
    Event {
        id: EventId::of(key),
        tenant: tenant(),
        channel: channel(),
        kind,
        time: at(0) + SignedDuration::from_nanos(123_456_789),
        subject: subject.to_owned(),
        data,
        trace: None,
    }
}

/// Somebody who goes by these names.
pub(crate) fn sighting(names: &[&str], at: Timestamp) -> Sighting {
    let aliases = names.iter().filter_map(|name| Alias::of_user(name)).collect();
    Sighting { aliases, former: Vec::new(), name: None, username: None, at, wrote: false }
}

/// A user's message.
pub(crate) fn text(name: &str) -> Leaf {
    Leaf {
        event: event(EventType::MessageReceived, &["message", name], name),
        sighting: Some(Sighting {
            wrote: true,
            name: Some("Anna".into()),
            ..sighting(&["393481213456"], at(0))
        }),
        touch: Some(Touch::Brought {
            wamid: wamid(name),
            direction: Direction::In,
            kind: "text".into(),
            state: MessageState::Received,
            at: at(0),
            unread: true,
        }),
        settles: None,
        reach: None,
    }
}

/// A status that names no command.
pub(crate) fn status(name: &str, state: MessageState) -> Leaf {
    Leaf {
        event: event(EventType::MessageStatus, &["status", name, state.as_str()], name),
        sighting: Some(sighting(&["393481213456"], at(i64::from(state.rank())))),
        touch: Some(Touch::Moved {
            wamid: wamid(name),
            state: Some(state),
            at: at(i64::from(state.rank())),
            command: None,
        }),
        settles: None,
        reach: None,
    }
}

/// A status that names its command.
pub(crate) fn proof(name: &str, state: MessageState, command: &str) -> Leaf {
    let mut leaf = status(name, state);
    if let Some(Touch::Moved { command: named, .. }) = &mut leaf.touch {
        *named = Some(id(command));
    }
    leaf.settles = Some(Settles { command: id(command), accepted: accepted(command) });
    leaf
}

pub(crate) fn accepted(command: &str) -> Event {
    event(EventType::CommandAccepted, &["accepted", command], command)
}

/// A claim of a queue entry that nobody claimed before.
pub(crate) fn claim(command: &str, epoch: i64) -> Claim {
    static SEQUENCE: AtomicI64 = AtomicI64::new(1);
    Claim {
        tenant: tenant(),
        channel: channel(),
        id: id(command),
        lane: Lane::Urgent,
        user: "393481213456".into(),
        kind: "text".into(),
        content: json!({"body": "Fattura pronta"}).to_string(),
        callback_data: Some(format!("order of {command}")),
        epoch,
        sequence: SEQUENCE.fetch_add(1, Ordering::Relaxed),
        at: at(epoch),
        in_doubt: event(EventType::CommandInDoubt, &["in_doubt", command], command),
        trace: None,
    }
}

/// A grant to write to somebody of whom nothing is known.
pub(crate) fn granted(attempt: u32) -> Claimed {
    Claimed::Granted { attempt, perhaps_sent: false, user: Standing::default() }
}

/// A grant to send once more what may have been sent, to somebody of whom nothing is known.
pub(crate) fn granted_again(attempt: u32) -> Claimed {
    Claimed::Granted { attempt, perhaps_sent: true, user: Standing::default() }
}

pub(crate) fn outcome(command: &str, settlement: Settlement) -> Outcome {
    let kind = match settlement.state() {
        CommandState::Accepted => Some(EventType::CommandAccepted),
        CommandState::InDoubt => Some(EventType::CommandInDoubt),
        CommandState::Rejected => Some(EventType::CommandRejected),
        CommandState::Failed => Some(EventType::CommandFailed),
        CommandState::Expired => Some(EventType::CommandExpired),
        _ => None,
    };
    let state = settlement.state().as_str();
    Outcome {
        tenant: tenant(),
        channel: channel(),
        lane: Lane::Urgent,
        id: id(command),
        epoch: 1_000,
        user: Some("393481213456".into()),
        called: None,
        at: at(100),
        settlement,
        event: kind.map(|kind| event(kind, &[state, command], command)),
        reach: None,
    }
}

pub(crate) fn taken(command: &str, name: &str) -> Outcome {
    outcome(command, Settlement::Accepted(wamid(name)))
}

pub(crate) fn new_command(command: &str) -> NewCommand {
    NewCommand {
        tenant: tenant(),
        channel: channel(),
        id: id(command),
        lane: Lane::Bulk,
        user: "393481213456".into(),
        callback_data: None,
        at: at(0),
    }
}

/// What makes the event of a command that is taken back.
pub(crate) fn cancelled(command: &str) -> impl FnOnce(&ChannelId) -> Event {
    move |channel| Event {
        channel: channel.clone(),
        ..event(EventType::CommandCancelled, &["cancelled", command], command)
    }
}

pub(crate) async fn command(store: &Store, command: &str) -> CommandRecord {
    store.command(&tenant(), &id(command)).await.unwrap().unwrap()
}

/// The names and subjects of what was told, in order.
pub(crate) fn told(announcements: &[Announcement]) -> Vec<(&'static str, &str)> {
    let name =
        |announcement: &Announcement| announcement.event.kind.as_str().trim_start_matches("staffetta.");
    announcements.iter().map(|told| (name(told), told.event.subject.as_str())).collect()
}
