//! What an actor asks of others. Nothing here holds on to the actor.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use opentelemetry::KeyValue;
use serde_json::Value;
use staffetta_bus::{LoggedEvent, boot_time};
use staffetta_domain::{Event, Object};
use staffetta_runtime::crash::crash_point;
use staffetta_store::{Announcement, Disabled, EndpointPlace, Parked, StoreError};
use tokio::time::sleep;
use tracing::{info, warn};

use super::{Done, EndpointActor, MOVE_ON};
use crate::machine::{Action, Input, Item, Lost, Now, Source};
use crate::told::{Change, endpoint_changed, events_lost, undeliverable};

/// Pause before a change of the endpoint that could not be written is written again.
const AGAIN: Duration = Duration::from_secs(2);

/// An event as the machine knows it.
pub(super) fn item(logged: &LoggedEvent) -> Item {
    let Event { id, data, .. } = &logged.event;
    let conversation = data.get("conversation_id").and_then(Value::as_str);
    Item {
        sequence: logged.sequence,
        stored: logged.stored,
        bytes: weight(data),
        conversation: conversation.unwrap_or(id.as_str()).into(),
    }
}

/// About as many bytes as the data takes here.
fn weight(data: &Object) -> usize {
    fn of(value: &Value) -> usize {
        match value {
            Value::String(text) => text.len() + 16,
            Value::Array(items) => items.iter().map(of).sum::<usize>() + 16,
            Value::Object(fields) => weight(fields),
            Value::Null | Value::Bool(_) | Value::Number(_) => 16,
        }
    }
    data.iter().map(|(name, value)| name.len() + of(value) + 32).sum()
}

impl EndpointActor {
    pub(super) fn work_for(&mut self, action: Action, now: &Now) -> Option<BoxFuture<'static, Done>> {
        let store = self.shared.store.clone();
        Some(match action {
            Action::Read { source, from, most } => self.read(source, from, most),
            Action::Park { cursor, rows } => self.park(self.place(cursor), rows),
            Action::Unpark(sequences) => {
                let key = self.key.clone();
                async move {
                    if let Err(error) = store.unpark(&key, &sequences).await {
                        let error: &dyn Error = &error;
                        warn!(endpoint = %key.endpoint, error, "delivered events are still parked");
                        return Done::Told(Input::NotUnparked);
                    }
                    Done::Told(Input::Unparked)
                }
                .boxed()
            }
            Action::GiveUp { source, sequence, lost, error } => self.give_up(source, sequence, lost, error),
            Action::MoveReplay { id, next } => {
                async move { noted(store.move_replay(id, next).await) }.boxed()
            }
            Action::EndReplay { id } => async move { noted(store.end_replay(id).await) }.boxed(),
            Action::Disable(reason) => self.disable(reason, now.wall),
            Action::Try { .. } | Action::Forget(..) => return None,
        })
    }

    /// Reads on. What EVENTS has dropped before it could be read is told first.
    fn read(&mut self, source: Source, from: u64, most: usize) -> BoxFuture<'static, Done> {
        let (shared, endpoint, key) = (self.shared.clone(), Arc::clone(&self.endpoint), self.key.clone());
        let first = self.mailbox.first.load(Ordering::Acquire);
        let known = self.mailbox.known.load(Ordering::Acquire);
        let now = boot_time();
        let mut quiet_below = 0;
        if source == Source::Live && now >= self.moved_on + MOVE_ON {
            quiet_below = self.mailbox.quiet_below.load(Ordering::Acquire);
            self.moved_on = now;
        }
        async move {
            if source == Source::Live && from < first {
                if let Err(error) = shared.dead.write(&events_lost(&key, from, first - 1)).await {
                    let error: &dyn Error = &error;
                    warn!(endpoint = %key.endpoint, error, "no dead letter could be written yet");
                    return Done::Told(Input::NotRead(source));
                }
                shared.metrics.given_up.add(1, &[KeyValue::new("reason", "events_lost")]);
            }
            let from = from.max(first);
            match shared.log.read(&key.tenant, from, most, known).await {
                Ok(batch) => {
                    let empty = batch.next <= from && !batch.more;
                    let next = if empty { batch.next.max(quiet_below) } else { batch.next };
                    let wanted = batch.events.into_iter().filter(|logged| endpoint.wants(&logged.event));
                    Done::Read { source, events: wanted.map(Arc::new).collect(), next, more: batch.more }
                }
                Err(error) => {
                    warn!(endpoint = %endpoint.id, error = &error as &dyn Error, "reading again in a moment");
                    Done::Told(Input::NotRead(source))
                }
            }
        }
        .boxed()
    }

    fn park(&self, place: EndpointPlace, rows: Vec<Parked>) -> BoxFuture<'static, Done> {
        let store = self.shared.store.clone();
        async move {
            let parked = store.park(&place, &rows).await;
            crash_point("delivery.parked");
            match parked {
                Ok(true) => Done::Told(Input::Parked),
                Ok(false) => Done::Superseded,
                Err(error) => {
                    let error: &dyn Error = &error;
                    warn!(endpoint = %place.key.endpoint, error, "events can't be parked yet");
                    Done::Told(Input::NotParked)
                }
            }
        }
        .boxed()
    }

    /// Writes the event's dead letter. What EVENTS does not hold any more is named by its number alone.
    fn give_up(&self, source: Source, sequence: u64, lost: Lost, error: String) -> BoxFuture<'static, Done> {
        let (shared, key) = (self.shared.clone(), self.key.clone());
        let event = self.events.get(&(source, sequence)).cloned();
        async move {
            let found = match (event, lost) {
                (Some(event), _) => Ok(Some(event)),
                (None, Lost::Dropped) => Ok(None),
                (None, Lost::Undelivered) => {
                    shared.log.read_one(&key.tenant, sequence).await.map(|found| found.map(Arc::new))
                }
            };
            let Ok(found) = found else { return Done::Told(Input::NotGivenUp(source, sequence)) };
            let letter = match &found {
                Some(logged) => undeliverable(&key, &logged.event, &error),
                None => events_lost(&key, sequence, sequence),
            };
            if let Err(error) = shared.dead.write(&letter).await {
                warn!(endpoint = %key.endpoint, error = &error as &dyn Error, "no dead letter could be written yet");
                return Done::Told(Input::NotGivenUp(source, sequence));
            }
            shared.metrics.given_up.add(1, &[KeyValue::new("reason", letter.reason)]);
            Done::Told(Input::GivenUp(source, sequence))
        }
        .boxed()
    }

    /// What the database says of the endpoint.
    pub(super) fn ask(&self) -> BoxFuture<'static, Done> {
        let (store, key, changes) = (self.shared.store.clone(), self.key.clone(), self.changes);
        async move {
            let asked = async {
                let state = store.endpoint_state(&key).await?;
                Ok::<_, StoreError>((state, store.replays(&key).await?))
            };
            match asked.await {
                Ok((Some(state), replays)) => Done::State { changes, state: Box::new(state), replays },
                // Whoever asks now and then asks again.
                Ok((None, _)) | Err(_) => Done::NoState,
            }
        }
        .boxed()
    }

    /// Disables the endpoint, and tells so, however long that takes.
    pub(super) fn disable(&self, reason: String, at: Timestamp) -> BoxFuture<'static, Done> {
        let (shared, key, revision) = (self.shared.clone(), self.key.clone(), self.endpoint.revision);
        warn!(endpoint = %key.endpoint, reason, "the endpoint is disabled");
        async move {
            let event = endpoint_changed(&key, Change::Disabled, &reason, revision, at);
            let announcements = loop {
                match shared.store.disable_endpoint(&key, &reason, revision, at, &event).await {
                    Ok(announcements) => break announcements,
                    Err(error) => not_yet(&error).await,
                }
            };
            shared.announcer.announce(&announcements).await;
            Done::Disabled(Disabled { at, reason, revision })
        }
        .boxed()
    }

    /// Enables it again, and tells so, however long that takes.
    pub(super) fn enable(&self, reason: &'static str) -> BoxFuture<'static, Done> {
        let (shared, key, revision) = (self.shared.clone(), self.key.clone(), self.endpoint.revision);
        info!(endpoint = %key.endpoint, reason, "the endpoint is enabled");
        let at = Timestamp::now();
        async move {
            let event = endpoint_changed(&key, Change::Enabled, reason, revision, at);
            let announcements: Vec<Announcement> = loop {
                match shared.store.enable_endpoint(&key, at, &event).await {
                    Ok(announcements) => break announcements.unwrap_or_default(),
                    Err(error) => not_yet(&error).await,
                }
            };
            shared.announcer.announce(&announcements).await;
            Done::Enabled
        }
        .boxed()
    }
}

fn noted(outcome: Result<(), StoreError>) -> Done {
    Done::Told(if outcome.is_ok() { Input::ReplayNoted } else { Input::ReplayNotNoted })
}

/// The next try comes in a moment. Whoever owns the work drops it when its time is over.
async fn not_yet(error: &StoreError) {
    warn!(error = error as &dyn Error, "an endpoint's change can't be written yet");
    sleep(AGAIN).await;
}
