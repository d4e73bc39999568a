//! What the dispatcher relies on before it sends, and the api before that.

use staffetta_domain::{CommandState, Lane, MessageState};
use staffetta_store::{Claimed, CommandRecord, Settlement, Store};

use crate::support::{
    at, claim, command, granted, granted_again, id, new_command, on_both, outcome, proof, taken, tenant, told,
};

on_both!(
    a_command_is_granted_once,
    a_claim_whose_answer_was_lost_is_answered_again,
    a_claim_of_a_newer_owner_is_a_doubt,
    an_older_owner_gets_nothing,
    a_doubt_of_the_same_try_is_told_once,
    a_status_ends_a_doubt,
    a_retry_counts_and_a_postponement_does_not,
    a_doubt_that_ends_in_a_retry_is_granted_again,
    the_first_claim_of_a_batch_decides,
    a_command_that_ended_stays_as_it_is,
    answers_stand_in_the_order_of_the_claims,
    a_command_is_known_before_it_is_claimed,
    commands_come_in_the_order_of_their_keys,
    a_tenant_sees_its_own_command,
);

async fn claim_one(store: &Store, key: &str, epoch: i64) -> Claimed {
    let (claimed, _) = store.claim(&[claim(key, epoch)]).await.unwrap();
    assert_eq!(claimed.len(), 1);
    claimed[0].clone()
}

async fn a_command_is_granted_once(store: Store) {
    assert_eq!(claim_one(&store, "c-1", 1).await, granted(1));
    assert_eq!(claim_one(&store, "c-1", 1).await, Claimed::Known(CommandState::Sending));
    let command = command(&store, "c-1").await;
    assert_eq!((command.state, command.attempt, command.lane), (CommandState::Sending, 1, Lane::Urgent));
    assert_eq!((command.created, command.updated), (at(1), at(1)));
    assert_eq!(store.claim(&[]).await.unwrap().0, []);
}

async fn a_claim_whose_answer_was_lost_is_answered_again(store: Store) {
    let unheard = claim("c-1", 1);
    for _ in 0..2 {
        let (claimed, _) = store.claim(std::slice::from_ref(&unheard)).await.unwrap();
        assert_eq!(claimed, [granted(1)]);
    }
    let doubt = claim("c-1", 2);
    for _ in 0..2 {
        let (claimed, _) = store.claim(std::slice::from_ref(&doubt)).await.unwrap();
        assert_eq!(claimed, [Claimed::InDoubt { attempt: 1, since: at(1) }]);
    }
    assert_eq!(claim_one(&store, "c-1", 2).await, Claimed::Known(CommandState::InDoubt));
}

async fn a_claim_of_a_newer_owner_is_a_doubt(store: Store) {
    claim_one(&store, "c-1", 1).await;
    let (claimed, doubts) = store.claim(&[claim("c-1", 2)]).await.unwrap();
    assert_eq!(claimed, [Claimed::InDoubt { attempt: 1, since: at(1) }]);
    assert_eq!(told(&doubts), [("command.in_doubt", "c-1")]);
    assert_eq!(doubts[0].event.data["callback_data"], "order of c-1");
    assert_eq!(doubts[0].event.data["command_id"], "c-1");
    assert_eq!(claim_one(&store, "c-1", 2).await, Claimed::Known(CommandState::InDoubt));
    assert_eq!(command(&store, "c-1").await.updated, at(2));
}

async fn an_older_owner_gets_nothing(store: Store) {
    claim_one(&store, "c-1", 5).await;
    assert_eq!(claim_one(&store, "c-1", 4).await, Claimed::Known(CommandState::Sending));
    assert_eq!(claim_one(&store, "c-1", 6).await, Claimed::InDoubt { attempt: 1, since: at(5) });
    assert_eq!(claim_one(&store, "c-1", 5).await, Claimed::Known(CommandState::InDoubt));
}

async fn a_doubt_of_the_same_try_is_told_once(store: Store) {
    claim_one(&store, "c-1", 1).await;
    assert_eq!(store.claim(&[claim("c-1", 2)]).await.unwrap().1.len(), 1);
    let (claimed, doubts) = store.claim(&[claim("c-1", 3)]).await.unwrap();
    assert_eq!(claimed, [Claimed::InDoubt { attempt: 1, since: at(1) }]);
    assert_eq!(told(&doubts), []);
    let unheard = outcome("c-1", Settlement::InDoubt("no answer".into()));
    assert_eq!(told(&store.settle(&[unheard]).await.unwrap()), []);
    assert_eq!(command(&store, "c-1").await.reason.as_deref(), Some("no answer"));
}

async fn a_status_ends_a_doubt(store: Store) {
    claim_one(&store, "c-1", 1).await;
    claim_one(&store, "c-1", 2).await;
    let told_now = store.record(&[proof("wamid.A", MessageState::Sent, "c-1")]).await.unwrap();
    assert_eq!(told(&told_now), [("command.accepted", "c-1"), ("message.status", "wamid.A")]);
    assert_eq!(claim_one(&store, "c-1", 3).await, Claimed::Known(CommandState::Accepted));
    assert_eq!(command(&store, "c-1").await.message, Some(MessageState::Sent));
}

async fn a_retry_counts_and_a_postponement_does_not(store: Store) {
    let why = || "try again later".to_owned();
    assert_eq!(claim_one(&store, "c-1", 1).await, granted(1));
    assert!(store.settle(&[outcome("c-1", Settlement::Retry(why()))]).await.unwrap().is_empty());
    let waiting = command(&store, "c-1").await;
    assert_eq!((waiting.state, waiting.reason.as_deref()), (CommandState::Queued, Some("try again later")));
    assert_eq!(claim_one(&store, "c-1", 1).await, granted(2));
    assert_eq!(command(&store, "c-1").await.reason, None);
    store.settle(&[outcome("c-1", Settlement::Postponed(why()))]).await.unwrap();
    assert_eq!(command(&store, "c-1").await.attempt, 1);
    assert_eq!(claim_one(&store, "c-1", 1).await, granted(2));
    store.settle(&[outcome("c-2", Settlement::Postponed(why()))]).await.unwrap();
    assert_eq!(claim_one(&store, "c-2", 1).await, granted(1));
}

async fn a_doubt_that_ends_in_a_retry_is_granted_again(store: Store) {
    claim_one(&store, "c-1", 1).await;
    claim_one(&store, "c-1", 2).await;
    store.settle(&[outcome("c-1", Settlement::Retry("no status came".into()))]).await.unwrap();
    assert_eq!(claim_one(&store, "c-1", 2).await, granted_again(2));
    assert_eq!(claim_one(&store, "c-1", 3).await, Claimed::InDoubt { attempt: 2, since: at(2) });
}

async fn the_first_claim_of_a_batch_decides(store: Store) {
    let (claimed, _) = store.claim(&[claim("c-1", 1), claim("c-2", 1), claim("c-1", 1)]).await.unwrap();
    let granted = granted(1);
    assert_eq!(claimed, [granted.clone(), granted, Claimed::Known(CommandState::Sending)]);
    let (claimed, doubts) = store.claim(&[claim("c-1", 2), claim("c-1", 2)]).await.unwrap();
    let doubt = Claimed::InDoubt { attempt: 1, since: at(1) };
    assert_eq!(claimed, [doubt, Claimed::Known(CommandState::InDoubt)]);
    assert_eq!(doubts.len(), 1);
}

async fn a_command_that_ended_stays_as_it_is(store: Store) {
    let ends = [Settlement::Rejected("no".into()), Settlement::Failed("no".into()), Settlement::Expired];
    for (number, end) in ends.into_iter().enumerate() {
        let key = format!("c-{number}");
        let state = end.state();
        store.settle(&[outcome(&key, end)]).await.unwrap();
        let before = command(&store, &key).await;
        assert_eq!(claim_one(&store, &key, 9).await, Claimed::Known(state));
        // Only what nobody had said yet is known now.
        let said = CommandRecord { callback_data: Some(format!("order of {key}")), ..before };
        assert_eq!(command(&store, &key).await, said);
    }
}

async fn answers_stand_in_the_order_of_the_claims(store: Store) {
    claim_one(&store, "m", 1).await;
    store.settle(&[taken("a", "wamid.A")]).await.unwrap();
    let claims = [claim("z", 2), claim("m", 2), claim("a", 2), claim("b", 2)];
    let (claimed, _) = store.claim(&claims).await.unwrap();
    let granted = granted(1);
    let doubt = Claimed::InDoubt { attempt: 1, since: at(1) };
    assert_eq!(claimed, [granted.clone(), doubt, Claimed::Known(CommandState::Accepted), granted]);
}

async fn a_command_is_known_before_it_is_claimed(store: Store) {
    store.enqueue(&[new_command("c-1"), new_command("c-2"), new_command("c-1")]).await.unwrap();
    let waiting = command(&store, "c-1").await;
    assert_eq!((waiting.state, waiting.attempt, waiting.lane), (CommandState::Queued, 0, Lane::Bulk));
    assert_eq!((waiting.message, waiting.wamid), (None, None));
    assert_eq!(claim_one(&store, "c-1", 1).await, granted(1));
    store.enqueue(&[new_command("c-1")]).await.unwrap();
    assert_eq!(command(&store, "c-1").await.state, CommandState::Sending);
    let told_now = store.settle(&[taken("c-1", "wamid.A")]).await.unwrap();
    assert_eq!(told_now[0].event.data["callback_data"], "order of c-1");
    store.enqueue(&[]).await.unwrap();
}

async fn commands_come_in_the_order_of_their_keys(store: Store) {
    store.enqueue(&[new_command("c-1"), new_command("c-2")]).await.unwrap();
    let keys = ["c-2", "c-9", "c-1", "c-2"].map(|key| (tenant(), id(key)));
    let found = store.commands(&keys).await.unwrap();
    let ids: Vec<_> = found.iter().map(|found| found.as_ref().map(|found| found.id.as_str())).collect();
    assert_eq!(ids, [Some("c-2"), None, Some("c-1"), Some("c-2")]);
    assert!(store.commands(&[]).await.unwrap().is_empty());
}

async fn a_tenant_sees_its_own_command(store: Store) {
    claim_one(&store, "c-1", 1).await;
    let mut other = claim("c-1", 1);
    other.tenant = "other".parse().unwrap();
    other.in_doubt.tenant = other.tenant.clone();
    assert_eq!(store.command(&other.tenant, &other.id).await.unwrap(), None);
    assert_eq!(store.claim(&[other]).await.unwrap().0, [granted(1)]);
}
