//! Commands that are taken back before they leave.

use futures_util::future::join;
use staffetta_domain::{CommandState, MessageState};
use staffetta_store::{Cancelled, Claimed, Settlement, Store};

use crate::support::{
    afterwards, cancelled, channel, claim, command, id, new_command, on_both, outcome, proof, taken, tenant,
    text, told,
};

on_both!(
    a_queued_command_is_taken_back_and_says_so_once,
    one_that_waits_for_another_try_tells_its_user_and_its_text,
    what_has_left_or_ended_is_not_taken_back,
    what_nobody_has_seen_is_unknown,
    another_tenants_command_is_unknown,
    a_cancelled_command_stays_cancelled,
    of_a_claim_and_a_cancellation_one_succeeds,
);

async fn cancel(store: &Store, key: &str) -> Cancelled {
    store.cancel(&tenant(), &id(key), cancelled(key)).await.unwrap()
}

async fn a_queued_command_is_taken_back_and_says_so_once(store: Store) {
    store.enqueue(&[new_command("c-1")]).await.unwrap();
    let Cancelled::Done(events) = cancel(&store, "c-1").await else { panic!("not done") };
    assert_eq!(told(&events), [("command.cancelled", "c-1")]);
    assert_eq!((&events[0].event.channel, events[0].conversation), (&channel(), None));
    assert_eq!(events[0].event.data["command_id"], "c-1");
    let kept = command(&store, "c-1").await;
    assert_eq!(kept.state, CommandState::Cancelled);
    assert!(matches!(cancel(&store, "c-1").await, Cancelled::Done(told) if told.is_empty()));
    assert_eq!(command(&store, "c-1").await, kept);
    let waiting = store.unannounced(afterwards(), 10).await.unwrap();
    assert_eq!(told(&waiting), [("command.cancelled", "c-1")]);
}

async fn one_that_waits_for_another_try_tells_its_user_and_its_text(store: Store) {
    store.record(&[text("wamid.A")]).await.unwrap();
    store.claim(&[claim("c-1", 1)]).await.unwrap();
    store.settle(&[outcome("c-1", Settlement::Retry("busy".into()))]).await.unwrap();
    let Cancelled::Done(events) = cancel(&store, "c-1").await else { panic!("not done") };
    assert_eq!(events[0].event.data["callback_data"], "order of c-1");
    assert_eq!(events[0].event.data["sequence"], 2);
    assert!(events[0].conversation.is_some());
    assert_eq!(command(&store, "c-1").await.reason, None);
}

async fn what_has_left_or_ended_is_not_taken_back(store: Store) {
    store.claim(&[claim("sending", 1), claim("doubt", 1)]).await.unwrap();
    let ends = [
        outcome("doubt", Settlement::InDoubt("no answer".into())),
        taken("accepted", "wamid.A"),
        outcome("expired", Settlement::Expired),
    ];
    store.settle(&ends).await.unwrap();
    for (key, state) in [
        ("sending", CommandState::Sending),
        ("doubt", CommandState::InDoubt),
        ("accepted", CommandState::Accepted),
        ("expired", CommandState::Expired),
    ] {
        let before = command(&store, key).await;
        assert!(matches!(cancel(&store, key).await, Cancelled::TooLate(found) if found == state), "{key}");
        assert_eq!(command(&store, key).await, before);
    }
}

async fn what_nobody_has_seen_is_unknown(store: Store) {
    assert!(matches!(cancel(&store, "c-1").await, Cancelled::Unknown));
    assert_eq!(store.command(&tenant(), &id("c-1")).await.unwrap(), None);
}

async fn another_tenants_command_is_unknown(store: Store) {
    store.enqueue(&[new_command("c-1")]).await.unwrap();
    let other = "beta".parse().unwrap();
    let answer = store.cancel(&other, &id("c-1"), cancelled("c-1")).await.unwrap();
    assert!(matches!(answer, Cancelled::Unknown));
    assert_eq!(command(&store, "c-1").await.state, CommandState::Queued);
}

async fn a_cancelled_command_stays_cancelled(store: Store) {
    store.enqueue(&[new_command("c-1")]).await.unwrap();
    cancel(&store, "c-1").await;
    let before = command(&store, "c-1").await;
    store.enqueue(&[new_command("c-1")]).await.unwrap();
    assert_eq!(store.claim(&[claim("c-1", 1)]).await.unwrap().0, [Claimed::Known(CommandState::Cancelled)]);
    assert!(!store.revive(&tenant(), &id("c-1")).await.unwrap());
    assert!(store.settle(&[taken("c-1", "wamid.A")]).await.unwrap().is_empty());
    let events = store.record(&[proof("wamid.A", MessageState::Sent, "c-1")]).await.unwrap();
    assert_eq!(told(&events), [("message.status", "wamid.A")]);
    assert_eq!(command(&store, "c-1").await.state, before.state);
}

async fn of_a_claim_and_a_cancellation_one_succeeds(store: Store) {
    store.record(&[text("wamid.A")]).await.unwrap();
    let mut wins = [0, 0];
    for turn in 0..60 {
        let key = format!("c-{turn}");
        // A command that was tried before tells its user: the cancellation numbers a conversation's event too.
        store.claim(&[claim(&key, 1)]).await.unwrap();
        store.settle(&[outcome(&key, Settlement::Postponed("later".into()))]).await.unwrap();
        let (claims, other) = ([claim(&key, 2)], store.clone());
        let claimed = tokio::spawn(async move { other.claim(&claims).await.unwrap().0 });
        let (claimed, taken_back) = join(claimed, cancel(&store, &key)).await;
        match (&claimed.unwrap()[0], taken_back) {
            (Claimed::Known(CommandState::Cancelled), Cancelled::Done(told)) => {
                assert_eq!(told.len(), 1);
                wins[0] += 1;
            }
            (
                Claimed::Granted { attempt: 1, perhaps_sent: false, .. },
                Cancelled::TooLate(CommandState::Sending),
            ) => {
                wins[1] += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(wins[0] + wins[1], 60);
}
