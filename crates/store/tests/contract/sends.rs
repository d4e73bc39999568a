//! What left lately, and for whom.

use jiff::{SignedDuration, Timestamp};
use staffetta_domain::{Direction, EventType, Leaf, MessageState, Touch};
use staffetta_store::{Outcome, Store};

use crate::support::{at, channel, event, on_both, proof, sighting, status, taken, tenant, text, wamid};

on_both!(
    what_left_since_then_is_found_newest_first,
    what_others_sent_is_found_but_not_what_came_or_what_the_phone_sent,
    other_channels_sends_are_not_found,
);

/// What was sent: seconds of the tests' time, and the names of the user.
async fn sends(store: &Store, since: Timestamp) -> Vec<(i64, Option<String>, Option<String>)> {
    let sends = store.recent_sends(&tenant(), &channel(), since).await.unwrap();
    let second = |moment: Timestamp| moment.as_second() - at(0).as_second();
    sends.into_iter().map(|send| (second(send.at), send.phone, send.user)).collect()
}

fn sent(key: &str, user: &str, seconds: i64) -> Outcome {
    let at = at(seconds) + SignedDuration::from_millis(900);
    Outcome { user: Some(user.into()), at, ..taken(key, &format!("wamid.{key}")) }
}

async fn what_left_since_then_is_found_newest_first(store: Store) {
    let user = "IT.13491208655302741918";
    let outcomes = [
        sent("a", "393481213456", 10),
        sent("b", user, 20),
        sent("c", "393481213456", 30),
        sent("d", user, 25),
        sent("old", "44770", 5),
        sent("e", "44770", 15),
        sent("once", "44771", 30),
    ];
    store.settle(&outcomes).await.unwrap();
    let phone = Some("393481213456".to_owned());
    let user = Some(user.to_owned());
    let expected =
        [(30, phone.clone(), None), (25, None, user.clone()), (20, None, user.clone()), (10, phone, None)];
    assert_eq!(sends(&store, at(10)).await, expected);
    // Somebody who was sent one message alone is left out.
    assert_eq!(sends(&store, at(11)).await, expected[1..3]);
    assert!(sends(&store, at(21)).await.is_empty());
    assert_eq!(sends(&store, at(5)).await.len(), 6);
    // The provider's time counts once it is known.
    let mut seen = proof("wamid.c", MessageState::Sent, "c");
    let Some(Touch::Moved { at: moment, .. }) = &mut seen.touch else { panic!("a status") };
    *moment = at(33);
    store.record(&[seen]).await.unwrap();
    assert_eq!(sends(&store, at(10)).await[0].0, 33);
}

async fn what_others_sent_is_found_but_not_what_came_or_what_the_phone_sent(store: Store) {
    let echo = Leaf {
        event: event(EventType::MessageEchoed, &["message", "wamid.echo"], "wamid.echo"),
        touch: Some(Touch::Brought {
            wamid: wamid("wamid.echo"),
            direction: Direction::Out,
            kind: "text".into(),
            state: MessageState::Sent,
            at: at(1),
            unread: false,
        }),
        sighting: Some(sighting(&["393481213456"], at(1))),
        ..text("wamid.echo")
    };
    store.record(&[text("wamid.in"), echo, status("wamid.other", MessageState::Read)]).await.unwrap();
    assert!(sends(&store, at(0)).await.is_empty());
    store.record(&[status("wamid.another", MessageState::Read)]).await.unwrap();
    assert_eq!(sends(&store, at(0)).await.len(), 2);
}

async fn other_channels_sends_are_not_found(store: Store) {
    store.settle(&[sent("own", "393481213456", 10)]).await.unwrap();
    let mut other = sent("a", "393481213456", 10);
    other.channel = "acme-shop".parse().unwrap();
    if let Some(event) = &mut other.event {
        event.channel = other.channel.clone();
    }
    let mut tenants = sent("b", "393481213456", 10);
    tenants.tenant = "beta".parse().unwrap();
    if let Some(event) = &mut tenants.event {
        event.tenant = tenants.tenant.clone();
    }
    store.settle(&[other, tenants]).await.unwrap();
    assert!(sends(&store, at(0)).await.is_empty());
}
