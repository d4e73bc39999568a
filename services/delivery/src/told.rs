//! What is told of an endpoint: its events, and the dead letters of what was given up.

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::json;
use staffetta_bus::{DeadLetter, Encoding, Origin, event_message, event_subject};
use staffetta_domain::{ChannelId, Event, EventId, EventType, Object};
use staffetta_store::EndpointKey;

/// The channel of events that are about none.
const NO_CHANNEL: &str = "none";

/// What became of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Disabled,
    Enabled,
}

/// An endpoint was disabled, or enabled again: as of a revision of its entry, at that moment.
pub(crate) fn endpoint_changed(
    key: &EndpointKey,
    change: Change,
    reason: &str,
    revision: u64,
    at: Timestamp,
) -> Event {
    let change = match change {
        Change::Disabled => "disabled",
        Change::Enabled => "enabled",
    };
    let (tenant, endpoint) = (key.tenant.as_str(), key.endpoint.as_str());
    let mut data = Object::new();
    for (name, value) in [("endpoint", endpoint), ("change", change), ("reason", reason)] {
        data.insert(name.into(), json!(value));
    }
    Event {
        id: EventId::of(&["endpoint", tenant, endpoint, change, &revision.to_string(), &at.to_string()]),
        tenant: key.tenant.clone(),
        channel: no_channel(),
        kind: EventType::EndpointChanged,
        time: at,
        subject: endpoint.to_owned(),
        data,
        trace: None,
    }
}

fn no_channel() -> ChannelId {
    NO_CHANNEL.parse().expect("letters are an id")
}

/// The letter of an event that could not be delivered for as long as it is kept. It can't be replayed from DEAD: a
/// replay of the endpoint brings it again while EVENTS has it.
pub(crate) fn undeliverable(key: &EndpointKey, event: &Event, error: &str) -> DeadLetter {
    let (_, payload) = event_message(event, Encoding::Json);
    let EndpointKey { tenant, endpoint } = key;
    DeadLetter {
        id: EventId::of(&["dead", "delivery", tenant.as_str(), endpoint.as_str(), event.id.as_str()]),
        service: "delivery",
        tenant: Some(tenant.clone()),
        channel: Some(event.channel.clone()),
        reason: "undeliverable",
        detail: format!("event {} could not be delivered to endpoint {endpoint}: {error}", event.id),
        subject: event_subject(event),
        encoding: Encoding::Json,
        payload,
        time: Timestamp::now(),
        origin: Origin::Other,
    }
}

/// The letter of what an endpoint still had to get when its EVENTS was lost with NATS, or went back to an earlier state:
/// everything from its place `from` on, and what was parked. `log` is the EVENTS that follows.
pub(crate) fn log_gone(key: &EndpointKey, from: u64, parked: usize, log: i64) -> DeadLetter {
    let EndpointKey { tenant, endpoint } = key;
    let id =
        ["dead", "delivery", "gone", tenant.as_str(), endpoint.as_str(), &from.to_string(), &log.to_string()];
    DeadLetter {
        id: EventId::of(&id),
        service: "delivery",
        tenant: Some(tenant.clone()),
        channel: None,
        reason: "events_lost",
        detail: format!(
            "EVENTS is another one than endpoint {endpoint} was served from: what the one before held for it from number \
             {from} on, and {parked} events that waited for another try, is not delivered. The database has the events"
        ),
        subject: format!("staffetta.v1.event.{tenant}.*.*"),
        encoding: Encoding::Json,
        payload: Bytes::new(),
        time: Timestamp::now(),
        origin: Origin::Other,
    }
}

/// The letter of events that EVENTS dropped before they could be delivered: those from `from` to `to`, as far as they
/// were this endpoint's.
pub(crate) fn events_lost(key: &EndpointKey, from: u64, to: u64) -> DeadLetter {
    let EndpointKey { tenant, endpoint } = key;
    let numbers = format!("{from}-{to}");
    DeadLetter {
        id: EventId::of(&["dead", "delivery", "lost", tenant.as_str(), endpoint.as_str(), &numbers]),
        service: "delivery",
        tenant: Some(tenant.clone()),
        channel: None,
        reason: "events_lost",
        detail: format!(
            "endpoint {endpoint} was away for longer than events are kept: what EVENTS held for it from number {from} to \
             {to} is not delivered"
        ),
        subject: format!("staffetta.v1.event.{tenant}.*.*"),
        encoding: Encoding::Json,
        payload: Bytes::new(),
        time: Timestamp::now(),
        origin: Origin::Other,
    }
}
