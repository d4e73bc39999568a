//! Where the delivery to endpoints stands.

use std::collections::HashMap;

use staffetta_store::{EndpointKey, EndpointPlace, EndpointState, Parked, Store};

use crate::attempts::attempt;
use crate::support::{at, migrated, on_both, postgres_url, sqlite_url};

on_both!(
    of_an_endpoint_that_nobody_served_nothing_is_known,
    a_place_is_kept_and_read_back,
    whoever_was_followed_writes_nothing_any_more,
    the_last_of_several_places_counts,
    tenants_see_their_own_endpoints_alone,
    events_are_parked_with_their_place_or_not_at_all,
    a_parked_event_is_kept_as_it_was_last_and_taken_off_by_number,
    two_owners_that_race_leave_what_the_newer_one_wrote,
    an_endpoint_that_is_forgotten_is_unknown,
);

pub(crate) fn key(tenant: &str, endpoint: &str) -> EndpointKey {
    EndpointKey { tenant: tenant.parse().unwrap(), endpoint: endpoint.parse().unwrap() }
}

pub(crate) fn erp() -> EndpointKey {
    key("acme", "acme-erp")
}

pub(crate) fn place(key: &EndpointKey, epoch: i64, cursor: u64) -> EndpointPlace {
    EndpointPlace {
        key: key.clone(),
        epoch,
        cursor,
        log: None,
        failing_since: None,
        last_success: None,
        last_error: None,
    }
}

pub(crate) fn parked(sequence: u64) -> Parked {
    Parked {
        sequence,
        conversation: format!("c{}", sequence % 3),
        attempts: 1,
        since: at(0),
        due: at(10),
        error: "HTTP 500".into(),
    }
}

pub(crate) async fn state(store: &Store, key: &EndpointKey) -> EndpointState {
    store.endpoint_state(key).await.unwrap().unwrap()
}

async fn of_an_endpoint_that_nobody_served_nothing_is_known(store: Store) {
    assert_eq!(store.endpoint_state(&erp()).await.unwrap(), None);
    assert_eq!(store.endpoint_states(&erp().tenant).await.unwrap(), []);
    assert_eq!(store.parked(&erp(), 10).await.unwrap(), []);
    assert!(store.keep_places(&[]).await.unwrap().is_empty());
    store.unpark(&erp(), &[]).await.unwrap();
    store.unpark(&erp(), &[1]).await.unwrap();
}

async fn a_place_is_kept_and_read_back(store: Store) {
    let place = EndpointPlace {
        failing_since: Some(at(5)),
        last_success: Some(at(4)),
        last_error: Some("HTTP 503\0".into()),
        log: Some(1 << 60),
        ..place(&erp(), 7, 1 << 40)
    };
    assert_eq!(store.keep_places(std::slice::from_ref(&place)).await.unwrap(), [true]);
    let expected = EndpointState {
        key: erp(),
        cursor: 1 << 40,
        log: Some(1 << 60),
        epoch: 7,
        disabled: None,
        failing_since: Some(at(5)),
        last_success: Some(at(4)),
        last_error: Some("HTTP 503\u{fffd}".into()),
        parked: 0,
    };
    assert_eq!(state(&store, &erp()).await, expected);
    let well = EndpointPlace { failing_since: None, last_error: None, ..place };
    assert_eq!(store.keep_places(&[well]).await.unwrap(), [true]);
    let expected = EndpointState { failing_since: None, last_error: None, ..expected };
    assert_eq!(state(&store, &erp()).await, expected);
}

async fn whoever_was_followed_writes_nothing_any_more(store: Store) {
    let other = key("acme", "acme-shop");
    assert_eq!(store.keep_places(&[place(&erp(), 2, 10)]).await.unwrap(), [true]);
    let places = [place(&other, 1, 50), place(&erp(), 1, 99), place(&other, 1, 51)];
    assert_eq!(store.keep_places(&places).await.unwrap(), [true, false, true]);
    assert_eq!((state(&store, &erp()).await.cursor, state(&store, &erp()).await.epoch), (10, 2));
    assert_eq!(state(&store, &other).await.cursor, 51);
    assert_eq!(store.keep_places(&[place(&erp(), 2, 9)]).await.unwrap(), [true], "its own place");
    assert_eq!(store.keep_places(&[place(&erp(), 3, 8)]).await.unwrap(), [true]);
    assert_eq!((state(&store, &erp()).await.cursor, state(&store, &erp()).await.epoch), (8, 3));
}

async fn the_last_of_several_places_counts(store: Store) {
    let places = [place(&erp(), 1, 10), place(&erp(), 1, 12), place(&erp(), 1, 11)];
    assert_eq!(store.keep_places(&places).await.unwrap(), [true; 3]);
    assert_eq!(state(&store, &erp()).await.cursor, 11);
}

async fn tenants_see_their_own_endpoints_alone(store: Store) {
    let keys = [key("acme", "b"), key("acme", "a"), key("beta", "a")];
    let places: Vec<_> = keys.iter().zip(1..).map(|(key, cursor)| place(key, 1, cursor)).collect();
    store.keep_places(&places).await.unwrap();
    store.park(&places[2], &[parked(1)]).await.unwrap();
    let states = store.endpoint_states(&keys[0].tenant).await.unwrap();
    let seen: Vec<_> = states.iter().map(|state| (state.key.clone(), state.cursor, state.parked)).collect();
    assert_eq!(seen, [(keys[1].clone(), 2, 0), (keys[0].clone(), 1, 0)]);
    assert_eq!(store.parked(&keys[1], 10).await.unwrap(), []);
    store.unpark(&keys[1], &[1]).await.unwrap();
    assert_eq!(state(&store, &keys[2]).await.parked, 1);
    store.forget_endpoint(&keys[1]).await.unwrap();
    assert_eq!(state(&store, &keys[2]).await.cursor, 3);
    assert_eq!(store.endpoint_states(&keys[2].tenant).await.unwrap().len(), 1);
}

async fn events_are_parked_with_their_place_or_not_at_all(store: Store) {
    assert!(store.park(&place(&erp(), 2, 10), &[parked(8), parked(5)]).await.unwrap());
    let now = state(&store, &erp()).await;
    assert_eq!((now.cursor, now.parked), (10, 2));
    assert!(!store.park(&place(&erp(), 1, 20), &[parked(9)]).await.unwrap(), "another one has followed");
    let now = state(&store, &erp()).await;
    assert_eq!((now.cursor, now.epoch, now.parked), (10, 2, 2));
    assert!(store.park(&place(&erp(), 2, 30), &[]).await.unwrap());
    assert_eq!(state(&store, &erp()).await.cursor, 30);
    assert_eq!(store.parked(&erp(), 10).await.unwrap(), [parked(5), parked(8)]);
    assert_eq!(store.parked(&erp(), 1).await.unwrap(), [parked(5)]);
}

async fn a_parked_event_is_kept_as_it_was_last_and_taken_off_by_number(store: Store) {
    let later = Parked { attempts: 4, due: at(99), error: "timeout\0".into(), ..parked(5) };
    store.park(&place(&erp(), 1, 10), &[parked(5), parked(6), parked(7)]).await.unwrap();
    let twice = [Parked { attempts: 3, ..later.clone() }, later.clone()];
    store.park(&place(&erp(), 1, 11), &twice).await.unwrap();
    let kept = Parked { error: "timeout\u{fffd}".into(), ..later };
    assert_eq!(store.parked(&erp(), 10).await.unwrap(), [kept.clone(), parked(6), parked(7)]);
    for _ in 0..2 {
        store.unpark(&erp(), &[6, 7, 99]).await.unwrap();
        assert_eq!(store.parked(&erp(), 10).await.unwrap(), std::slice::from_ref(&kept));
    }
    assert_eq!(state(&store, &erp()).await.parked, 1);
}

/// Each owner parks what it leaves behind; the older one's events must be there only if it wrote before the newer one.
async fn two_owners_that_race_leave_what_the_newer_one_wrote(store: Store) {
    for round in 0..20 {
        let key = key("acme", &format!("e-{round}"));
        let park = |epoch: i64, sequence: u64| {
            let (store, key) = (store.clone(), key.clone());
            tokio::spawn(async move {
                store.park(&place(&key, epoch, sequence), &[parked(sequence)]).await.unwrap()
            })
        };
        let (old, new) = (park(1, 100), park(2, 200));
        let (old, new) = (old.await.unwrap(), new.await.unwrap());
        assert!(new);
        let now = state(&store, &key).await;
        assert_eq!((now.epoch, now.cursor), (2, 200));
        let left: Vec<_> = store.parked(&key, 9).await.unwrap().iter().map(|event| event.sequence).collect();
        assert_eq!(left, if old { vec![100, 200] } else { vec![200] });
    }
}

async fn an_endpoint_that_is_forgotten_is_unknown(store: Store) {
    let other = key("acme", "acme-shop");
    for key in [&erp(), &other] {
        store.park(&place(key, 5, 10), &[parked(1), parked(2)]).await.unwrap();
        store.add_replay(key, 1, 9, at(0), at(1), at(2)).await.unwrap();
        let attempts: Vec<_> = (0..20).map(|n| attempt(key, &format!("{n}"), n)).collect();
        store.log_attempts(&attempts).await.unwrap();
    }
    for _ in 0..2 {
        store.forget_endpoint(&erp()).await.unwrap();
        assert_eq!(store.endpoint_state(&erp()).await.unwrap(), None);
        assert_eq!(store.parked(&erp(), 10).await.unwrap(), []);
        assert_eq!(store.replays(&erp()).await.unwrap(), []);
        assert_eq!(store.attempts(&erp(), &Default::default(), None, 10).await.unwrap().len(), 0);
    }
    assert_eq!(state(&store, &other).await.parked, 2);
    assert_eq!(store.replays(&other).await.unwrap().len(), 1);
    assert_eq!(store.attempts(&other, &Default::default(), None, 100).await.unwrap().len(), 20);
    assert_eq!(store.keep_places(&[place(&erp(), 1, 3)]).await.unwrap(), [true], "begins anew");
}

/// Parks, delivers some of it, and goes away; whoever comes next finds what is left, and where to go on.
async fn whoever_comes_next_finds_what_is_parked(url: &str) {
    let mut left: HashMap<u64, Parked> = HashMap::new();
    for epoch in 1..=3_u64 {
        let store = migrated(url).await;
        if epoch > 1 {
            assert_eq!(state(&store, &erp()).await.cursor, (epoch - 1) * 100);
        }
        let found = store.parked(&erp(), 1_000).await.unwrap();
        assert!(found.is_sorted_by_key(|event| event.sequence));
        assert_eq!(found.into_iter().map(|event| (event.sequence, event)).collect::<HashMap<_, _>>(), left);
        let new: Vec<_> = (epoch * 100..epoch * 100 + 30).map(parked).collect();
        let again: Vec<_> = left.values().map(|event| Parked { attempts: 9, ..event.clone() }).collect();
        let all = [new, again].concat();
        assert!(store.park(&place(&erp(), epoch.cast_signed(), epoch * 100), &all).await.unwrap());
        left.extend(all.into_iter().map(|event| (event.sequence, event)));
        let delivered: Vec<u64> = left.keys().copied().filter(|sequence| sequence % 2 == 0).collect();
        store.unpark(&erp(), &delivered).await.unwrap();
        left.retain(|sequence, _| sequence % 2 == 1);
        store.close().await;
    }
    assert_eq!(left.len(), 45);
}

#[tokio::test]
async fn on_sqlite_whoever_comes_next_finds_what_is_parked() {
    let folder = tempfile::tempdir().unwrap();
    whoever_comes_next_finds_what_is_parked(&sqlite_url(folder.path())).await;
}

#[tokio::test]
async fn on_postgresql_whoever_comes_next_finds_what_is_parked() {
    whoever_comes_next_finds_what_is_parked(&postgres_url().await).await;
}
