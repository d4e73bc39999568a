//! What the recorder relies on.

use jiff::{SignedDuration, Timestamp};
use staffetta_domain::{CommandState, MessageState};
use staffetta_store::{Announcement, Settlement, Store};

use crate::support::{
    accepted, afterwards, claim, command, event, new_command, on_both, outcome, proof, status, taken, text,
    told,
};

on_both!(
    a_leaf_is_told_once,
    the_same_leaf_twice_in_a_batch_is_told_once,
    statuses_end_alike_in_every_order,
    a_batch_of_statuses_ends_as_they_would_alone,
    an_event_waits_until_it_is_announced,
    what_waits_is_what_was_told,
    the_oldest_events_come_first,
    a_status_settles_its_command,
    a_status_of_a_retried_command_settles_it,
    a_status_of_a_command_that_ended_moves_nothing,
    a_status_of_an_unknown_command_tells_no_acceptance,
    the_first_status_of_a_batch_settles,
    a_status_without_its_claim_carries_no_callback,
    characters_that_postgres_cannot_hold_stop_nothing,
);

async fn a_leaf_is_told_once(store: Store) {
    let first = store.record(&[text("wamid.A"), status("wamid.B", MessageState::Sent)]).await.unwrap();
    assert_eq!(told(&first), [("message.received", "wamid.A"), ("message.status", "wamid.B")]);
    let second = store
        .record(&[status("wamid.B", MessageState::Sent), text("wamid.C"), text("wamid.A")])
        .await
        .unwrap();
    assert_eq!(told(&second), [("message.received", "wamid.C")]);
    assert!(store.record(&[]).await.unwrap().is_empty());
}

async fn the_same_leaf_twice_in_a_batch_is_told_once(store: Store) {
    let leaves = [text("wamid.A"), text("wamid.B"), text("wamid.A"), text("wamid.A")];
    let first = store.record(&leaves).await.unwrap();
    assert_eq!(told(&first), [("message.received", "wamid.A"), ("message.received", "wamid.B")]);
}

const STATES: [MessageState; 4] =
    [MessageState::Sent, MessageState::Delivered, MessageState::Read, MessageState::Failed];

/// All orders of the four states.
fn orders() -> Vec<Vec<MessageState>> {
    let mut orders = vec![vec![]];
    for state in STATES {
        let insert_everywhere = |order: &Vec<MessageState>| {
            let insert_at = |place: usize| {
                let mut longer = order.clone();
                longer.insert(place, state);
                longer
            };
            (0..=order.len()).map(insert_at).collect::<Vec<_>>()
        };
        orders = orders.iter().flat_map(insert_everywhere).collect();
    }
    orders
}

async fn statuses_end_alike_in_every_order(store: Store) {
    assert_eq!(orders().len(), 24);
    for (number, order) in orders().into_iter().enumerate() {
        let (name, key) = (format!("wamid.{number}"), format!("c-{number}"));
        store.claim(&[claim(&key, 1)]).await.unwrap();
        store.settle(&[taken(&key, &name)]).await.unwrap();
        assert_eq!(command(&store, &key).await.message, Some(MessageState::Accepted));
        let mut highest = MessageState::Accepted;
        for state in &order {
            store.record(&[proof(&name, *state, &key)]).await.unwrap();
            highest = highest.max(*state);
            assert_eq!(command(&store, &key).await.message, Some(highest), "{order:?}");
        }
        assert_eq!(command(&store, &key).await.message, Some(MessageState::Read), "{order:?}");
    }
}

async fn a_batch_of_statuses_ends_as_they_would_alone(store: Store) {
    for (number, order) in orders().into_iter().enumerate() {
        let (name, key) = (format!("wamid.{number}"), format!("c-{number}"));
        store.claim(&[claim(&key, 1)]).await.unwrap();
        let leaves: Vec<_> = order.iter().map(|state| proof(&name, *state, &key)).collect();
        assert_eq!(store.record(&leaves).await.unwrap().len(), 5, "{order:?}");
        let command = command(&store, &key).await;
        assert_eq!((command.state, command.message), (CommandState::Accepted, Some(MessageState::Read)));
    }
}

async fn an_event_waits_until_it_is_announced(store: Store) {
    let first = store.record(&[text("wamid.A"), text("wamid.B")]).await.unwrap();
    let earlier = Timestamp::now() - SignedDuration::from_hours(1);
    assert!(store.unannounced(earlier, 10).await.unwrap().is_empty());
    assert_eq!(told(&store.unannounced(afterwards(), 10).await.unwrap()), told(&first));
    store.announced(&[first[0].place]).await.unwrap();
    store.announced(&[first[0].place, first[0].place]).await.unwrap();
    assert_eq!(told(&store.unannounced(afterwards(), 10).await.unwrap()), [("message.received", "wamid.B")]);
    store.announced(&[first[1].place]).await.unwrap();
    store.announced(&[]).await.unwrap();
    assert!(store.unannounced(afterwards(), 10).await.unwrap().is_empty());
}

async fn what_waits_is_what_was_told(store: Store) {
    let mut told = store.claim(&[claim("c-1", 1), claim("c-2", 1)]).await.unwrap().1;
    told.extend(store.claim(&[claim("c-2", 2)]).await.unwrap().1);
    told.extend(store.record(&[text("wamid.A"), proof("wamid.B", MessageState::Sent, "c-1")]).await.unwrap());
    told.extend(store.settle(&[outcome("c-2", Settlement::Failed("tried too often".into()))]).await.unwrap());
    let as_one = |told: &[Announcement]| -> Vec<_> {
        told.iter().map(|told| (told.place, told.event.clone())).collect()
    };
    let waiting = store.unannounced(afterwards(), 10).await.unwrap();
    assert_eq!(as_one(&waiting), as_one(&told));
    let callback = |told: &Announcement| told.event.data.get("callback_data").cloned();
    assert_eq!(callback(&waiting[0]), Some("order of c-2".into()));
    assert_eq!(callback(&waiting[1]), None);
    assert_eq!(callback(&waiting[2]), Some("order of c-1".into()));
    assert_eq!(waiting[3].event.data["command_id"], "c-1");
    assert_eq!(waiting[3].event.data["callback_data"], "order of c-1");
    assert_eq!(waiting[3].event.data["count"], 18_446_744_073_709_551_615_u64);
}

async fn the_oldest_events_come_first(store: Store) {
    let names: Vec<_> = (0..30).map(|number| format!("wamid.{number}")).collect();
    let leaves: Vec<_> = names.iter().map(|name| text(name)).collect();
    store.record(&leaves[..20]).await.unwrap();
    store.record(&leaves[10..]).await.unwrap();
    let waiting = store.unannounced(afterwards(), 25).await.unwrap();
    let subjects: Vec<_> = waiting.iter().map(|told| told.event.subject.as_str()).collect();
    assert_eq!(subjects, names[..25]);
}

async fn a_status_settles_its_command(store: Store) {
    store.claim(&[claim("c-1", 1)]).await.unwrap();
    let first =
        store.record(&[text("wamid.A"), proof("wamid.B", MessageState::Delivered, "c-1")]).await.unwrap();
    assert_eq!(
        told(&first),
        [("message.received", "wamid.A"), ("command.accepted", "c-1"), ("message.status", "wamid.B")]
    );
    for told in &first[1..] {
        assert_eq!(told.event.data["command_id"], "c-1");
        assert_eq!(told.event.data["callback_data"], "order of c-1");
    }
    assert_eq!(first[1].event.id, accepted("c-1").id);
    let command = command(&store, "c-1").await;
    assert_eq!(command.state, CommandState::Accepted);
    assert_eq!(command.message, Some(MessageState::Delivered));
    assert_eq!(command.wamid.unwrap().as_str(), "wamid.B");
    let second = store.record(&[proof("wamid.B", MessageState::Read, "c-1")]).await.unwrap();
    assert_eq!(told(&second), [("message.status", "wamid.B")]);
}

async fn a_status_of_a_retried_command_settles_it(store: Store) {
    store.claim(&[claim("c-1", 1)]).await.unwrap();
    store.settle(&[outcome("c-1", Settlement::Retry("the provider was busy".into()))]).await.unwrap();
    let told_now = store.record(&[proof("wamid.B", MessageState::Sent, "c-1")]).await.unwrap();
    assert_eq!(told(&told_now), [("command.accepted", "c-1"), ("message.status", "wamid.B")]);
    let command = command(&store, "c-1").await;
    assert_eq!((command.state, command.reason), (CommandState::Accepted, None));
}

async fn a_status_of_a_command_that_ended_moves_nothing(store: Store) {
    let why = || "it cannot be sent".to_owned();
    for (key, end) in [
        ("c-1", Settlement::Rejected(why())),
        ("c-2", Settlement::Failed(why())),
        ("c-3", Settlement::Expired),
    ] {
        store.claim(&[claim(key, 1)]).await.unwrap();
        let state = end.state();
        store.settle(&[outcome(key, end)]).await.unwrap();
        let name = format!("wamid.{key}");
        let told_now = store.record(&[proof(&name, MessageState::Sent, key)]).await.unwrap();
        assert_eq!(told(&told_now), [("message.status", name.as_str())]);
        assert_eq!(command(&store, key).await.state, state);
    }
}

async fn a_status_of_an_unknown_command_tells_no_acceptance(store: Store) {
    let told_now = store.record(&[proof("wamid.A", MessageState::Sent, "c-1")]).await.unwrap();
    assert_eq!(told(&told_now), [("message.status", "wamid.A")]);
    assert!(store.command(&crate::support::tenant(), &crate::support::id("c-1")).await.unwrap().is_none());
}

async fn the_first_status_of_a_batch_settles(store: Store) {
    store.claim(&[claim("c-1", 1), claim("c-2", 1)]).await.unwrap();
    let leaves = [
        proof("wamid.B", MessageState::Sent, "c-2"),
        proof("wamid.A", MessageState::Read, "c-1"),
        proof("wamid.A", MessageState::Sent, "c-1"),
        proof("wamid.B", MessageState::Read, "c-2"),
    ];
    let expected = [
        ("command.accepted", "c-2"),
        ("message.status", "wamid.B"),
        ("command.accepted", "c-1"),
        ("message.status", "wamid.A"),
        ("message.status", "wamid.A"),
        ("message.status", "wamid.B"),
    ];
    let first = store.record(&leaves).await.unwrap();
    assert_eq!(told(&first), expected);
    assert_eq!(told(&store.unannounced(afterwards(), 10).await.unwrap()), expected);
    assert!(first.is_sorted_by_key(|told| told.place));
}

async fn a_status_without_its_claim_carries_no_callback(store: Store) {
    store.enqueue(&[new_command("c-1")]).await.unwrap();
    let told_now = store.record(&[proof("wamid.A", MessageState::Sent, "c-1")]).await.unwrap();
    assert_eq!(told(&told_now), [("command.accepted", "c-1"), ("message.status", "wamid.A")]);
    assert_eq!(told_now[0].event.data.get("callback_data"), None);
}

async fn characters_that_postgres_cannot_hold_stop_nothing(store: Store) {
    let mut claim = claim("c-1", 1);
    (claim.user, claim.kind, claim.callback_data) = ("a\0b".into(), "\0".into(), Some("x\0".into()));
    store.claim(&[claim]).await.unwrap();
    store.settle(&[taken("c-1", "wamid.\0A")]).await.unwrap();
    let mut leaf = proof("wamid.\0A", MessageState::Sent, "c-1");
    leaf.event = event(leaf.event.kind, &["nul"], "wamid.\0A");
    let told_now = store.record(&[leaf]).await.unwrap();
    assert_eq!(told(&told_now), [("message.status", "wamid.\u{fffd}A")]);
    assert_eq!(told_now[0].event.data["text"], "è \u{1f4e6} \0");
    let waiting = store.unannounced(afterwards(), 10).await.unwrap();
    assert_eq!(waiting[1].event, told_now[0].event);
    assert_eq!(command(&store, "c-1").await.message, Some(MessageState::Sent));
}
