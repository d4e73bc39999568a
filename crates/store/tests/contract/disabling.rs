//! Endpoints that are disabled and enabled again: each change is told once.

use staffetta_domain::{Event, EventType};
use staffetta_store::{Disabled, EndpointPlace, Store};

use crate::endpoints::{erp, key, place, state};
use crate::support::{afterwards, at, event, on_both, told};

on_both!(
    an_endpoint_is_disabled_and_enabled_again,
    an_endpoint_that_nobody_served_is_disabled_too,
    one_change_is_told_once,
    an_event_that_was_told_is_not_told_again,
    a_later_revision_is_disabled_anew,
    a_disabled_endpoint_keeps_its_place,
);

fn changed(change: &str, revision: u64) -> Event {
    let key = ["endpoint", "acme-erp", change, &revision.to_string()];
    Event { channel: "none".parse().unwrap(), ..event(EventType::EndpointChanged, &key, "acme-erp") }
}

async fn disable(store: &Store, revision: u64) -> usize {
    let event = changed("disabled", revision);
    store.disable_endpoint(&erp(), "nothing\0 arrived", revision, at(50), &event).await.unwrap().len()
}

async fn an_endpoint_is_disabled_and_enabled_again(store: Store) {
    let failing = EndpointPlace { failing_since: Some(at(1)), ..place(&erp(), 3, 10) };
    store.keep_places(&[failing]).await.unwrap();
    let event = changed("disabled", 4);
    let announced = store.disable_endpoint(&erp(), "nothing\0 arrived", 4, at(50), &event).await.unwrap();
    assert_eq!(told(&announced), [("endpoint.changed", "acme-erp")]);
    assert_eq!(announced[0].conversation, None);
    assert_eq!((&announced[0].event.id, announced[0].event.channel.as_str()), (&event.id, "none"));
    let expected = Disabled { at: at(50), reason: "nothing\u{fffd} arrived".into(), revision: 4 };
    let now = state(&store, &erp()).await;
    assert_eq!((now.disabled, now.failing_since, now.cursor), (Some(expected), Some(at(1)), 10));
    assert_eq!(store.unannounced(afterwards(), 10).await.unwrap().len(), 1);

    let enabled = store.enable_endpoint(&erp(), at(60), &changed("enabled", 4)).await.unwrap().unwrap();
    assert_eq!(told(&enabled), [("endpoint.changed", "acme-erp")]);
    let now = state(&store, &erp()).await;
    assert_eq!((now.disabled, now.failing_since, now.cursor, now.epoch), (None, None, 10, 3));
    let places: Vec<_> = announced.iter().chain(&enabled).map(|told| told.place).collect();
    store.announced(&places).await.unwrap();
    assert!(store.unannounced(afterwards(), 10).await.unwrap().is_empty());
}

async fn an_endpoint_that_nobody_served_is_disabled_too(store: Store) {
    assert_eq!(store.enable_endpoint(&erp(), at(1), &changed("enabled", 1)).await.unwrap().map(|_| ()), None);
    assert_eq!(disable(&store, 1).await, 1);
    let now = state(&store, &erp()).await;
    assert_eq!((now.cursor, now.epoch, now.disabled.map(|disabled| disabled.revision)), (0, 0, Some(1)));
    let other = key("beta", "acme-erp");
    assert_eq!(store.enable_endpoint(&other, at(1), &changed("enabled", 1)).await.unwrap().map(|_| ()), None);
    assert!(state(&store, &erp()).await.disabled.is_some(), "another tenant's");
}

async fn one_change_is_told_once(store: Store) {
    let all: Vec<_> = (0..8)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { disable(&store, 4).await })
        })
        .collect();
    let mut told = 0;
    for one in all {
        told += one.await.unwrap();
    }
    assert_eq!(told, 1);
    assert_eq!(store.unannounced(afterwards(), 10).await.unwrap().len(), 1);
    let enable = async || store.enable_endpoint(&erp(), at(60), &changed("enabled", 4)).await.unwrap();
    assert_eq!(enable().await.unwrap().len(), 1);
    assert!(enable().await.is_none());
    assert_eq!(store.unannounced(afterwards(), 10).await.unwrap().len(), 2);
}

/// Whoever gives two changes one id is told of the first alone; the change is made all the same.
async fn an_event_that_was_told_is_not_told_again(store: Store) {
    assert_eq!(disable(&store, 4).await, 1);
    store.enable_endpoint(&erp(), at(60), &changed("enabled", 4)).await.unwrap();
    assert_eq!(disable(&store, 4).await, 0);
    assert!(state(&store, &erp()).await.disabled.is_some());
    let again = store.enable_endpoint(&erp(), at(60), &changed("enabled", 4)).await.unwrap();
    assert_eq!(again.map(|told| told.len()), Some(0));
    assert!(state(&store, &erp()).await.disabled.is_none());
}

async fn a_later_revision_is_disabled_anew(store: Store) {
    let revision = async || state(&store, &erp()).await.disabled.unwrap().revision;
    assert_eq!((disable(&store, 4).await, revision().await), (1, 4));
    assert_eq!((disable(&store, 3).await, revision().await), (0, 4));
    assert_eq!((disable(&store, 9).await, revision().await), (1, 9));
}

async fn a_disabled_endpoint_keeps_its_place(store: Store) {
    store.keep_places(&[place(&erp(), 3, 10)]).await.unwrap();
    disable(&store, 4).await;
    assert_eq!(store.keep_places(&[place(&erp(), 3, 12)]).await.unwrap(), [true]);
    let now = state(&store, &erp()).await;
    assert_eq!((now.cursor, now.disabled.is_some()), (12, true));
}
