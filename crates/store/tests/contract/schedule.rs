//! Commands that go on SEND later.

use std::collections::HashSet;

use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use staffetta_domain::{CommandState, Lane};
use staffetta_store::{Cancelled, Scheduled, Settlement, Store};

use crate::support::{
    at, cancelled, channel, claim, command, granted, id, new_command, on_both, outcome, taken, tenant,
};

on_both!(
    what_is_due_comes_back_as_it_went_in,
    the_one_that_is_due_first_comes_first,
    what_was_given_to_somebody_is_not_given_to_the_next,
    whoever_takes_many_at_once_takes_each_once,
    what_is_on_the_queue_is_scheduled_no_more,
    scheduling_again_changes_nothing,
    what_is_known_otherwise_is_not_scheduled,
    a_scheduled_command_is_cancelled,
    a_scheduled_command_is_granted_with_all_that_it_says,
);

pub(crate) fn scheduled(key: &str, due: Timestamp) -> Scheduled {
    Scheduled {
        tenant: tenant(),
        channel: channel(),
        id: id(key),
        lane: Lane::Bulk,
        user: "393481213456".into(),
        callback_data: Some(format!("order of {key}")),
        due,
        payload: vec![0, 255, 7],
        headers: vec![("Nats-Msg-Id".into(), key.into()), ("traceparent".into(), "è\0".into())],
    }
}

fn keys(commands: &[Scheduled]) -> Vec<&str> {
    commands.iter().map(|command| command.id.as_str()).collect()
}

async fn what_is_due_comes_back_as_it_went_in(store: Store) {
    let kept = scheduled("c-1", at(10));
    assert_eq!(store.next_due().await.unwrap(), None);
    assert_eq!(store.schedule(std::slice::from_ref(&kept)).await.unwrap(), [true]);
    assert_eq!(store.next_due().await.unwrap(), Some(at(10)));
    let known = command(&store, "c-1").await;
    assert_eq!((known.state, known.lane, known.attempt), (CommandState::Queued, Lane::Bulk, 0));
    assert!(store.due(at(10) - SignedDuration::from_micros(1), 10).await.unwrap().is_empty());
    let due = store.due(at(10), 10).await.unwrap();
    assert_eq!(keys(&due), ["c-1"]);
    assert_eq!((&due[0].tenant, &due[0].channel, due[0].lane), (&kept.tenant, &kept.channel, Lane::Bulk));
    assert_eq!((due[0].due, &due[0].payload, &due[0].headers), (at(10), &kept.payload, &kept.headers));
    assert!(store.schedule(&[]).await.unwrap().is_empty());
}

async fn the_one_that_is_due_first_comes_first(store: Store) {
    let commands =
        [("z", 5), ("late", 9), ("b", 5), ("first", 1), ("a", 5)].map(|(key, due)| scheduled(key, at(due)));
    assert_eq!(store.schedule(&commands).await.unwrap(), [true; 5]);
    assert_eq!(keys(&store.due(at(8), 3).await.unwrap()), ["first", "z", "b"]);
    assert_eq!(keys(&store.due(at(8), 3).await.unwrap()), ["a"]);
    assert_eq!(store.next_due().await.unwrap(), Some(at(1)));
}

async fn what_was_given_to_somebody_is_not_given_to_the_next(store: Store) {
    store.schedule(&[scheduled("c-1", at(0))]).await.unwrap();
    assert_eq!(keys(&store.due(at(0), 10).await.unwrap()), ["c-1"]);
    assert!(store.due(at(29), 10).await.unwrap().is_empty());
    assert_eq!(keys(&store.due(at(30), 10).await.unwrap()), ["c-1"], "whoever had it is gone");
    assert!(store.due(at(59), 10).await.unwrap().is_empty());
}

async fn whoever_takes_many_at_once_takes_each_once(store: Store) {
    let commands: Vec<_> = (0..100).map(|number| scheduled(&format!("c-{number}"), at(number))).collect();
    store.schedule(&commands).await.unwrap();
    let take = |_| {
        let store = store.clone();
        tokio::spawn(async move { store.due(at(1000), 9).await.unwrap() })
    };
    let mut given = HashSet::new();
    while given.len() < commands.len() {
        let before = given.len();
        for due in join_all((0..8).map(take)).await {
            for command in due.unwrap() {
                assert!(given.insert(command.id.clone()), "given twice");
            }
        }
        assert!(given.len() > before);
    }
}

async fn what_is_on_the_queue_is_scheduled_no_more(store: Store) {
    store.schedule(&[scheduled("c-1", at(0)), scheduled("c-2", at(0))]).await.unwrap();
    assert_eq!(store.due(at(0), 10).await.unwrap().len(), 2);
    store.unschedule(&[(tenant(), id("c-1")), (tenant(), id("nobody"))]).await.unwrap();
    store.unschedule(&[]).await.unwrap();
    assert_eq!(keys(&store.due(at(100), 10).await.unwrap()), ["c-2"]);
    assert_eq!(command(&store, "c-1").await.state, CommandState::Queued);
    store.unschedule(&[(tenant(), id("c-2"))]).await.unwrap();
    assert_eq!(store.next_due().await.unwrap(), None);
}

async fn scheduling_again_changes_nothing(store: Store) {
    assert_eq!(store.schedule(&[scheduled("c-1", at(10))]).await.unwrap(), [true]);
    let again = [scheduled("c-1", at(99)), scheduled("c-2", at(11)), scheduled("c-2", at(99))];
    assert_eq!(store.schedule(&again).await.unwrap(), [true; 3]);
    let due = store.due(at(20), 10).await.unwrap();
    assert_eq!(due.iter().map(|command| command.due).collect::<Vec<_>>(), [at(10), at(11)]);
}

async fn what_is_known_otherwise_is_not_scheduled(store: Store) {
    store.enqueue(&[new_command("queued"), new_command("taken-back")]).await.unwrap();
    store.cancel(&tenant(), &id("taken-back"), cancelled("taken-back")).await.unwrap();
    store.claim(&[claim("sending", 1), claim("retried", 1), claim("doubt", 1)]).await.unwrap();
    let ends = [
        taken("accepted", "wamid.A"),
        outcome("failed", Settlement::Failed("no".into())),
        outcome("retried", Settlement::Retry("again".into())),
        outcome("doubt", Settlement::InDoubt("no answer".into())),
    ];
    store.settle(&ends).await.unwrap();
    let known = ["queued", "taken-back", "sending", "accepted", "failed", "retried", "doubt"];
    let commands = known.map(|key| scheduled(key, at(0)));
    let expected = [true, false, false, false, false, true, false];
    assert_eq!(store.schedule(&commands).await.unwrap(), expected);
    assert_eq!(keys(&store.due(at(0), 10).await.unwrap()), ["queued", "retried"]);
    assert_eq!(command(&store, "sending").await.state, CommandState::Sending);
}

async fn a_scheduled_command_is_cancelled(store: Store) {
    store.schedule(&[scheduled("c-1", at(0)), scheduled("c-2", at(0))]).await.unwrap();
    store.due(at(0), 1).await.unwrap();
    for key in ["c-1", "c-2"] {
        let done = store.cancel(&tenant(), &id(key), cancelled(key)).await.unwrap();
        let Cancelled::Done(told) = done else { panic!("{done:?}") };
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].event.data["callback_data"], format!("order of {key}"));
    }
    assert_eq!(store.next_due().await.unwrap(), None);
    assert_eq!(store.schedule(&[scheduled("c-1", at(0))]).await.unwrap(), [false]);
    assert!(store.due(at(100), 10).await.unwrap().is_empty());
}

async fn a_scheduled_command_is_granted_with_all_that_it_says(store: Store) {
    store.schedule(&[scheduled("c-1", at(0))]).await.unwrap();
    assert_eq!(store.claim(&[claim("c-1", 1)]).await.unwrap().0, [granted(1)]);
    let told = store.settle(&[taken("c-1", "wamid.A")]).await.unwrap();
    assert_eq!(told[0].event.data["callback_data"], "order of c-1");
    assert_eq!(store.schedule(&[scheduled("c-1", at(0))]).await.unwrap(), [false]);
}
