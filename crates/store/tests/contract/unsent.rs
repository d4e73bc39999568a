//! That nothing was sent is a fact, whoever owns the channel by the time that it is said.

use futures_util::future::join;
use staffetta_domain::CommandState;
use staffetta_store::{Cancelled, Claimed, Outcome, Settlement, Store};

use crate::support::{
    at, cancelled, claim, command, granted, granted_again, id, on_both, outcome, taken, tenant,
};

on_both!(
    an_owner_that_was_followed_says_that_nothing_was_sent,
    what_the_next_owner_was_granted_is_not_taken_back,
    another_try_of_the_same_number_is_not_taken_back,
    whoever_misses_the_answer_does_not_know_that_nothing_was_sent,
    a_postponement_that_is_repeated_takes_one_try_off,
    what_was_said_before_the_claim_is_not_about_it,
    a_doubt_that_is_tried_again_was_perhaps_sent,
    what_was_perhaps_sent_is_not_taken_back,
    whoever_gives_back_and_whoever_follows_leave_no_doubt,
);

fn unsent() -> [Settlement; 2] {
    [Settlement::Postponed("unsent".into()), Settlement::Retry("refused".into())]
}

fn said(key: &str, epoch: i64, settlement: Settlement) -> Outcome {
    Outcome { epoch, ..outcome(key, settlement) }
}

async fn settle(store: &Store, outcome: Outcome) {
    assert!(store.settle(&[outcome]).await.unwrap().is_empty());
}

async fn claimed(store: &Store, key: &str, epoch: i64) -> Claimed {
    store.claim(&[claim(key, epoch)]).await.unwrap().0.remove(0)
}

async fn state(store: &Store, key: &str) -> (CommandState, u32) {
    let command = command(store, key).await;
    (command.state, command.attempt)
}

fn is_doubt(claimed: &Claimed) -> bool {
    matches!(claimed, Claimed::InDoubt { .. })
}

async fn an_owner_that_was_followed_says_that_nothing_was_sent(store: Store) {
    for (key, settlement, tries) in
        ["c-1", "c-2"].into_iter().zip(unsent()).zip([0, 1]).map(|((a, b), c)| (a, b, c))
    {
        claimed(&store, key, 1).await;
        assert!(is_doubt(&claimed(&store, key, 2).await));
        for _ in 0..2 {
            settle(&store, said(key, 1, settlement.clone())).await;
            assert_eq!(state(&store, key).await, (CommandState::Queued, tries));
        }
        assert_eq!(claimed(&store, key, 2).await, granted(tries + 1));
    }
}

async fn what_the_next_owner_was_granted_is_not_taken_back(store: Store) {
    claimed(&store, "c-1", 1).await;
    claimed(&store, "c-1", 2).await;
    settle(&store, said("c-1", 2, Settlement::Retry("no status came".into()))).await;
    assert_eq!(claimed(&store, "c-1", 2).await, granted_again(2));
    for settlement in unsent() {
        settle(&store, said("c-1", 1, settlement)).await;
        assert_eq!(state(&store, "c-1").await, (CommandState::Sending, 2));
    }
    assert!(is_doubt(&claimed(&store, "c-1", 3).await));
    for settlement in unsent() {
        settle(&store, said("c-1", 1, settlement)).await;
        assert_eq!(state(&store, "c-1").await, (CommandState::InDoubt, 2));
    }
    settle(&store, said("c-1", 2, Settlement::Postponed("unsent".into()))).await;
    assert_eq!(state(&store, "c-1").await, (CommandState::Queued, 1));
}

/// A postponement gives its number to the next try.
async fn another_try_of_the_same_number_is_not_taken_back(store: Store) {
    claimed(&store, "c-1", 1).await;
    let unsent = said("c-1", 1, Settlement::Postponed("unsent".into()));
    settle(&store, unsent.clone()).await;
    assert_eq!(claimed(&store, "c-1", 2).await, granted(1));
    settle(&store, unsent.clone()).await;
    assert_eq!(state(&store, "c-1").await, (CommandState::Sending, 1));
    assert!(is_doubt(&claimed(&store, "c-1", 3).await));
    settle(&store, unsent).await;
    assert_eq!(state(&store, "c-1").await, (CommandState::InDoubt, 1));
}

async fn whoever_misses_the_answer_does_not_know_that_nothing_was_sent(store: Store) {
    claimed(&store, "c-1", 1).await;
    store.settle(&[said("c-1", 1, Settlement::InDoubt("no answer".into()))]).await.unwrap();
    assert!(is_doubt(&claimed(&store, "c-1", 2).await));
    for settlement in unsent() {
        settle(&store, said("c-1", 1, settlement)).await;
        assert_eq!(state(&store, "c-1").await, (CommandState::InDoubt, 1));
    }
}

async fn a_postponement_that_is_repeated_takes_one_try_off(store: Store) {
    claimed(&store, "c-1", 1).await;
    settle(&store, said("c-1", 1, Settlement::Retry("busy".into()))).await;
    claimed(&store, "c-1", 1).await;
    for _ in 0..3 {
        settle(&store, said("c-1", 1, Settlement::Postponed("later".into()))).await;
        assert_eq!(state(&store, "c-1").await, (CommandState::Queued, 1));
    }
}

/// A settlement that was given up unanswered may be written when its repetition, and the next claim, are over.
async fn what_was_said_before_the_claim_is_not_about_it(store: Store) {
    claimed(&store, "c-1", 7).await;
    for settlement in unsent() {
        settle(&store, Outcome { at: at(6), ..said("c-1", 7, settlement) }).await;
        assert_eq!(state(&store, "c-1").await, (CommandState::Sending, 1));
    }
    let accepted = Outcome { at: at(6), ..taken("c-1", "wamid.A") };
    assert_eq!(store.settle(&[accepted]).await.unwrap().len(), 1);
}

async fn a_doubt_that_is_tried_again_was_perhaps_sent(store: Store) {
    let again = || Settlement::Retry("no status came".into());
    claimed(&store, "c-1", 1).await;
    assert!(is_doubt(&claimed(&store, "c-1", 2).await));
    settle(&store, said("c-1", 2, again())).await;
    assert_eq!(claimed(&store, "c-1", 2).await, granted_again(2));
    // It stays so, whatever becomes of the tries after that one.
    settle(&store, said("c-1", 2, Settlement::Postponed("later".into()))).await;
    assert_eq!(claimed(&store, "c-1", 3).await, granted_again(2));
    settle(&store, said("c-1", 3, Settlement::Retry("busy".into()))).await;
    assert_eq!(claimed(&store, "c-1", 3).await, granted_again(3));
    // An owner's own doubt is one too.
    claimed(&store, "c-2", 1).await;
    store.settle(&[said("c-2", 1, Settlement::InDoubt("no answer".into()))]).await.unwrap();
    settle(&store, said("c-2", 1, again())).await;
    assert_eq!(claimed(&store, "c-2", 1).await, granted_again(2));
}

async fn what_was_perhaps_sent_is_not_taken_back(store: Store) {
    claimed(&store, "c-1", 1).await;
    claimed(&store, "c-1", 2).await;
    settle(&store, said("c-1", 2, Settlement::Retry("no status came".into()))).await;
    let cancel = async || store.cancel(&tenant(), &id("c-1"), cancelled("c-1")).await.unwrap();
    assert!(matches!(cancel().await, Cancelled::TooLate(CommandState::InDoubt)));
    assert_eq!(state(&store, "c-1").await, (CommandState::Queued, 1));
    // Until somebody has it begin anew.
    store.settle(&[said("c-1", 2, Settlement::Failed("refused".into()))]).await.unwrap();
    assert!(store.revive(&tenant(), &id("c-1")).await.unwrap());
    assert_eq!(claimed(&store, "c-1", 2).await, granted(1));
    settle(&store, said("c-1", 2, Settlement::Retry("busy".into()))).await;
    assert!(matches!(cancel().await, Cancelled::Done(told) if told.len() == 1));
}

async fn whoever_gives_back_and_whoever_follows_leave_no_doubt(store: Store) {
    for turn in 0..40 {
        let key = format!("c-{turn}");
        claimed(&store, &key, 1).await;
        let unsent = [said(&key, 1, Settlement::Postponed("unsent".into()))];
        let (settled, first) = join(store.settle(&unsent), claimed(&store, &key, 2)).await;
        assert!(settled.unwrap().is_empty());
        let last = if is_doubt(&first) { claimed(&store, &key, 2).await } else { first };
        assert_eq!(last, granted(1));
    }
}
