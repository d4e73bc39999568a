//! What holds when several do it at once.

use std::collections::HashSet;

use futures_util::future::{join, join_all};
use staffetta_domain::{CommandState, MessageState};
use staffetta_store::{Announcement, Claimed, Settlement, Store};

use crate::support::{
    afterwards, at, claim, command, granted, new_command, on_both, outcome, proof, status, taken, text,
};

on_both!(
    many_recorders_of_the_same_leaves_tell_each_once,
    recorders_of_the_same_messages_never_wait_in_a_circle,
    a_command_is_accepted_once_whoever_is_first,
    many_claims_of_one_command_grant_one,
    everything_at_once_ends_well,
);

async fn many_recorders_of_the_same_leaves_tell_each_once(store: Store) {
    let leaves: Vec<_> = (0..25)
        .flat_map(|number| {
            let name = format!("wamid.{number}");
            [text(&format!("{name}.in")), proof(&name, MessageState::Sent, &format!("c-{number}"))]
        })
        .collect();
    let claims: Vec<_> = (0..25).map(|number| claim(&format!("c-{number}"), 1)).collect();
    store.claim(&claims).await.unwrap();
    let record = |turn: usize| {
        let (store, mut leaves) = (store.clone(), leaves.clone());
        leaves.rotate_left(turn * 7 % 50);
        if turn % 2 == 1 {
            leaves.reverse();
        }
        tokio::spawn(async move { store.record(&leaves).await.unwrap() })
    };
    let told: Vec<_> =
        join_all((0..20).map(record)).await.into_iter().flat_map(|told| told.unwrap()).collect();
    assert_eq!(told.len(), 75);
    let ids: HashSet<_> = told.iter().map(|told| told.event.id.clone()).collect();
    assert_eq!(ids.len(), 75);
    assert_eq!(store.unannounced(afterwards(), 1000).await.unwrap().len(), 75);
}

/// No command makes them wait for each other before they reach events and messages: each recorder begins where
/// another one ends.
async fn recorders_of_the_same_messages_never_wait_in_a_circle(store: Store) {
    for (round, other) in [MessageState::Read, MessageState::Sent].iter().cycle().take(8).enumerate() {
        let names: Vec<_> = (0..200).map(|number| format!("wamid.{round}.{number}")).collect();
        let record = |turn: usize| {
            let state = if turn < 4 { MessageState::Delivered } else { *other };
            let mut leaves: Vec<_> = names.iter().map(|name| status(name, state)).collect();
            if turn.is_multiple_of(2) {
                leaves.reverse();
            }
            let store = store.clone();
            tokio::spawn(async move { store.record(&leaves).await.unwrap().len() })
        };
        let told = join_all((0..8).map(record)).await.into_iter().map(|told| told.unwrap()).sum::<usize>();
        assert_eq!(told, 400);
    }
}

async fn a_command_is_accepted_once_whoever_is_first(store: Store) {
    for number in 0..40 {
        let (key, name) = (format!("c-{number}"), format!("wamid.{number}"));
        store.claim(&[claim(&key, 1)]).await.unwrap();
        let (leaves, outcomes) = ([proof(&name, MessageState::Sent, &key)], [taken(&key, &name)]);
        let (by_status, by_answer) = join(store.record(&leaves), store.settle(&outcomes)).await;
        let told: Vec<Announcement> = by_status.unwrap().into_iter().chain(by_answer.unwrap()).collect();
        let accepted = told.iter().filter(|told| told.event.subject == key).count();
        assert_eq!((accepted, told.len()), (1, 2));
        let command = command(&store, &key).await;
        assert_eq!((command.state, command.message), (CommandState::Accepted, Some(MessageState::Sent)));
    }
}

async fn many_claims_of_one_command_grant_one(store: Store) {
    store.enqueue(&[new_command("known")]).await.unwrap();
    let claim_both = |turn: usize| {
        let store = store.clone();
        let mut claims = [claim("known", 1), claim("new", 1)];
        claims.rotate_left(turn % 2);
        tokio::spawn(async move { store.claim(&claims).await.unwrap().0 })
    };
    let answers: Vec<_> =
        join_all((0..20).map(claim_both)).await.into_iter().flat_map(|answer| answer.unwrap()).collect();
    let granted = answers.iter().filter(|answer| **answer == granted(1)).count();
    let known = answers.iter().filter(|answer| **answer == Claimed::Known(CommandState::Sending)).count();
    assert_eq!((granted, known), (2, 38));
}

/// Two owners, two recorders and the api meet on the same thirty commands, each in an order of its own.
async fn everything_at_once_ends_well(store: Store) {
    let keys: Vec<_> = (0..30).map(|number| format!("c-{number}")).collect();
    store.claim(&keys.iter().map(|key| claim(key, 1)).collect::<Vec<_>>()).await.unwrap();
    let work = |turn: usize| {
        let (store, mut keys) = (store.clone(), keys.clone());
        keys.rotate_left(turn * 11 % 30);
        tokio::spawn(async move {
            let name = |key: &str| format!("wamid.{key}");
            match turn % 5 {
                0 => store
                    .settle(&keys.iter().map(|key| taken(key, &name(key))).collect::<Vec<_>>())
                    .await
                    .unwrap(),
                1 => {
                    let leaves =
                        keys.iter().map(|key| proof(&name(key), MessageState::Read, key)).collect::<Vec<_>>();
                    store.record(&leaves).await.unwrap()
                }
                2 => {
                    let claims = keys.iter().map(|key| claim(key, 2)).collect::<Vec<_>>();
                    store.claim(&claims).await.unwrap().1
                }
                3 => {
                    let unheard = |key: &String| outcome(key, Settlement::InDoubt("no answer".into()));
                    store.settle(&keys.iter().map(unheard).collect::<Vec<_>>()).await.unwrap()
                }
                _ => {
                    let waiting = store.unannounced(afterwards(), 1000).await.unwrap();
                    let mut seqs: Vec<_> = waiting.iter().map(|told| told.place).collect();
                    seqs.reverse();
                    store.announced(&seqs).await.unwrap();
                    store
                        .enqueue(&keys.iter().map(|key| new_command(key)).collect::<Vec<_>>())
                        .await
                        .unwrap();
                    Vec::new()
                }
            }
        })
    };
    let told: Vec<_> = join_all((0..40).map(work)).await.into_iter().flat_map(|told| told.unwrap()).collect();
    let ids: HashSet<_> = told.iter().map(|told| told.event.id.clone()).collect();
    assert_eq!(ids.len(), told.len());
    for key in &keys {
        let command = command(&store, key).await;
        assert_eq!((command.state, command.message), (CommandState::Accepted, Some(MessageState::Read)));
        assert_eq!((command.attempt, command.created), (1, at(1)));
        let accepted = told.iter().filter(|told| told.event.id == crate::support::accepted(key).id).count();
        assert_eq!(accepted, 1);
    }
}
