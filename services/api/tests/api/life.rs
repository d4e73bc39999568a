//! What the other services do to a message that was taken in.

use jiff::Timestamp;
use staffetta_domain::{CommandId, Event, EventId, EventType, Lane, Leaf, MessageState, Object, Touch};
use staffetta_store::{Claim, Claimed, Outcome, Settlement};

use crate::harness::Gateway;

pub(crate) const WAMID: &str = "wamid.HBgLMzkzNDgxMjEzNDU2FQIAERgS";

/// What the dispatcher does before it sends.
pub(crate) async fn claim(gateway: &Gateway, id: &str) -> Claimed {
    let claim = Claim {
        tenant: "acme".parse().unwrap(),
        channel: "acme-orders".parse().unwrap(),
        id: id.parse().unwrap(),
        lane: Lane::Urgent,
        user: "393481213456".into(),
        kind: "text".into(),
        content: r#"{"body":"x"}"#.into(),
        callback_data: None,
        epoch: 1,
        sequence: 1,
        at: Timestamp::now(),
        in_doubt: event(EventType::CommandInDoubt, id),
        trace: None,
    };
    let (mut answers, _) = gateway.store.claim(&[claim]).await.unwrap();
    answers.remove(0)
}

/// What the dispatcher does after it has sent.
pub(crate) async fn settle(gateway: &Gateway, id: &str, settlement: Settlement) {
    let outcome = Outcome {
        tenant: "acme".parse().unwrap(),
        channel: "acme-orders".parse().unwrap(),
        id: id.parse().unwrap(),
        epoch: 1,
        lane: Lane::Urgent,
        user: Some("393481213456".into()),
        called: None,
        at: Timestamp::now(),
        settlement,
        event: None,
        reach: None,
    };
    gateway.store.settle(&[outcome]).await.unwrap();
}

/// What the recorder makes of a status.
pub(crate) fn status(state: MessageState) -> Leaf {
    let touch = Touch::Moved {
        wamid: WAMID.parse().unwrap(),
        state: Some(state),
        at: Timestamp::now(),
        command: Some("a".parse::<CommandId>().unwrap()),
    };
    Leaf { touch: Some(touch), ..Leaf::of_event(event(EventType::MessageStatus, state.as_str())) }
}

fn event(kind: EventType, subject: &str) -> Event {
    Event {
        id: EventId::of(&[kind.as_str(), subject]),
        tenant: "acme".parse().unwrap(),
        channel: "acme-orders".parse().unwrap(),
        kind,
        time: Timestamp::now(),
        subject: subject.into(),
        data: Object::new(),
        trace: None,
    }
}
