//! Whose each phone number is.

use staffetta_domain::{ChannelId, TenantId};
use staffetta_store::{NumberClaim, NumberMoved, Store};

use crate::support::{migrated, on_both, postgres_url, sqlite_url};

on_both!(
    the_first_claim_of_a_number_is_no_move,
    the_last_claim_wins_and_is_told_once,
    an_older_claim_changes_nothing,
    claims_of_one_call_follow_each_other,
    a_holder_that_claims_again_keeps_its_number,
    each_move_is_told_by_itself,
    of_two_that_race_the_later_one_wins,
    what_is_claimed_does_not_print,
);

fn claim(number: &str, tenant: &str, revision: u64) -> NumberClaim {
    let (tenant, channel) = home(tenant);
    NumberClaim { number: number.into(), tenant, channel, revision }
}

/// A tenant and its channel.
fn home(tenant: &str) -> (TenantId, ChannelId) {
    (tenant.parse().unwrap(), format!("{tenant}-orders").parse().unwrap())
}

fn moved(number: &str, revision: u64, from: &str, to: &str) -> NumberMoved {
    NumberMoved { number: number.into(), revision, from: Some(home(from)), to: home(to) }
}

async fn claimed(store: &Store, claims: &[NumberClaim]) -> Vec<NumberMoved> {
    store.claim_numbers(claims).await.unwrap()
}

async fn note(store: &Store, moves: &[NumberMoved]) {
    let moves: Vec<_> = moves.iter().map(|moved| (moved.number.clone(), moved.revision)).collect();
    store.numbers_told(&moves).await.unwrap();
}

async fn the_first_claim_of_a_number_is_no_move(store: Store) {
    assert_eq!(claimed(&store, &[]).await, []);
    for _ in 0..2 {
        assert_eq!(claimed(&store, &[claim("391", "acme", 5), claim("392", "beta", 6)]).await, []);
    }
}

async fn the_last_claim_wins_and_is_told_once(store: Store) {
    claimed(&store, &[claim("391", "acme", 5)]).await;
    let expected = [moved("391", 8, "acme", "beta")];
    assert_eq!(claimed(&store, &[claim("391", "beta", 8)]).await, expected);
    // Whoever has not noted that it was told is given it again, by whatever call.
    assert_eq!(claimed(&store, &[claim("391", "beta", 8)]).await, expected);
    assert_eq!(claimed(&store, &[]).await, expected);
    note(&store, &expected).await;
    note(&store, &expected).await;
    assert_eq!(claimed(&store, &[claim("391", "beta", 8), claim("391", "acme", 5)]).await, []);
}

async fn an_older_claim_changes_nothing(store: Store) {
    claimed(&store, &[claim("391", "acme", 5)]).await;
    assert_eq!(claimed(&store, &[claim("391", "beta", 4), claim("391", "gamma", 5)]).await, []);
    let next = [moved("391", 6, "acme", "gamma")];
    assert_eq!(claimed(&store, &[claim("391", "gamma", 6)]).await, next);
}

async fn claims_of_one_call_follow_each_other(store: Store) {
    let claims = [claim("391", "gamma", 9), claim("391", "acme", 2), claim("391", "beta", 5)];
    let expected = [moved("391", 5, "acme", "beta"), moved("391", 9, "beta", "gamma")];
    assert_eq!(claimed(&store, &claims).await, expected);
    note(&store, &expected).await;
    assert_eq!(claimed(&store, &claims).await, []);
}

async fn a_holder_that_claims_again_keeps_its_number(store: Store) {
    claimed(&store, &[claim("391", "acme", 5)]).await;
    assert_eq!(claimed(&store, &[claim("391", "acme", 9)]).await, []);
    assert_eq!(claimed(&store, &[claim("391", "beta", 8)]).await, [], "older than the holder's");
    // Another channel of the same tenant is another holder.
    let channel: ChannelId = "acme-shop".parse().unwrap();
    let other = NumberClaim { channel: channel.clone(), ..claim("391", "acme", 10) };
    let moves = claimed(&store, &[other]).await;
    assert_eq!(moves.len(), 1);
    assert_eq!((moves[0].from.clone(), moves[0].to.clone()), (Some(home("acme")), (home("acme").0, channel)));
}

async fn each_move_is_told_by_itself(store: Store) {
    claimed(&store, &[claim("391", "acme", 1), claim("392", "acme", 2)]).await;
    let moves = claimed(&store, &[claim("392", "beta", 4), claim("391", "beta", 3)]).await;
    assert_eq!(moves, [moved("391", 3, "acme", "beta"), moved("392", 4, "acme", "beta")]);
    note(&store, &moves[..1]).await;
    let back = claimed(&store, &[claim("391", "acme", 7)]).await;
    assert_eq!(back, [moved("391", 7, "beta", "acme"), moves[1].clone()]);
    note(&store, &[moved("391", 3, "acme", "beta"), moved("392", 7, "acme", "beta")]).await;
    assert_eq!(claimed(&store, &[]).await, back, "other moves");
}

async fn of_two_that_race_the_later_one_wins(store: Store) {
    let numbers: Vec<_> = (0..40).map(|n| format!("39{n:03}")).collect();
    for round in 0..10 {
        let claims = |tenant: &str, revision: u64| -> Vec<_> {
            let mut claims: Vec<_> = numbers.iter().map(|number| claim(number, tenant, revision)).collect();
            if revision.is_multiple_of(2) {
                claims.reverse();
            }
            claims
        };
        let older = claims("acme", round * 10 + 1);
        let later = claims("beta", round * 10 + 2);
        let race = [older, later].map(|claims| {
            let store = store.clone();
            tokio::spawn(async move { store.claim_numbers(&claims).await.unwrap() })
        });
        for racer in race {
            racer.await.unwrap();
        }
        // Whoever comes next takes each number from the later one, however they met.
        let last = round * 10 + 3;
        let moves = claimed(&store, &claims("gamma", last)).await;
        let taken: Vec<_> = moves.iter().filter(|moved| moved.revision == last).collect();
        assert_eq!(taken.len(), numbers.len());
        assert!(taken.iter().all(|moved| moved.from == Some(home("beta"))));
        // And of each number every move begins where the one before ended.
        for number in &numbers {
            let turns: Vec<_> = moves.iter().filter(|moved| moved.number == *number).collect();
            assert!(turns.windows(2).all(|pair| pair[1].from.as_ref() == Some(&pair[0].to)));
            assert!(turns.is_sorted_by_key(|moved| moved.revision));
        }
        note(&store, &moves).await;
        assert_eq!(claimed(&store, &[]).await, []);
    }
}

async fn what_is_claimed_does_not_print(store: Store) {
    let first = claim("39348121", "acme", 1);
    claimed(&store, std::slice::from_ref(&first)).await;
    let moves = claimed(&store, &[claim("39348121", "beta", 2)]).await;
    let printed = format!("{first:?} {moves:?}");
    assert!(!printed.contains("39348121"), "{printed}");
}

/// Whoever learned of a move dies before it has told anybody: the next one is given it.
async fn a_move_outlives_whoever_did_not_tell_it(url: &str) {
    let first = migrated(url).await;
    claimed(&first, &[claim("391", "acme", 1)]).await;
    claimed(&first, &[claim("391", "beta", 2)]).await;
    first.close().await;
    let second = migrated(url).await;
    let moves = claimed(&second, &[claim("391", "acme", 1), claim("391", "beta", 2)]).await;
    assert_eq!(moves, [moved("391", 2, "acme", "beta")]);
    note(&second, &moves).await;
    second.close().await;
    let third = migrated(url).await;
    assert_eq!(claimed(&third, &[claim("391", "beta", 2)]).await, []);
}

#[tokio::test]
async fn on_sqlite_a_move_outlives_whoever_did_not_tell_it() {
    let folder = tempfile::tempdir().unwrap();
    a_move_outlives_whoever_did_not_tell_it(&sqlite_url(folder.path())).await;
}

#[tokio::test]
async fn on_postgresql_a_move_outlives_whoever_did_not_tell_it() {
    a_move_outlives_whoever_did_not_tell_it(&postgres_url().await).await;
}
