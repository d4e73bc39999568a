//! The attempt log.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use staffetta_domain::{EventId, EventType};
use staffetta_store::{Attempt, AttemptCursor, AttemptFilter, EndpointKey, Pruned, Store};

use crate::endpoints::{erp, key};
use crate::support::{at, on_both, tenant};

on_both!(
    an_attempt_is_read_back_as_it_was_logged,
    attempts_are_listed_newest_first_page_by_page,
    attempts_of_one_event_or_those_that_failed_are_found,
    another_tenants_attempts_are_nowhere,
    what_is_older_than_seven_days_is_pruned_in_batches,
    a_tenant_that_keeps_less_keeps_fewer_attempts,
);

/// The try of that second.
pub(crate) fn attempt(key: &EndpointKey, event: &str, seconds: i64) -> Attempt {
    Attempt {
        key: key.clone(),
        event: EventId::of(&[event]),
        kind: EventType::MessageReceived,
        at: at(seconds),
        attempt: 1,
        duration: Duration::from_micros(1_234_567),
        status: Some(204),
        error: None,
    }
}

fn failed(event: &str, seconds: i64) -> Attempt {
    Attempt { status: Some(503), error: Some("HTTP 503".into()), ..attempt(&erp(), event, seconds) }
}

async fn all(store: &Store, filter: &AttemptFilter, limit: u32) -> Vec<Attempt> {
    let mut all = Vec::new();
    let mut after: Option<AttemptCursor> = None;
    loop {
        let page = store.attempts(&erp(), filter, after, limit).await.unwrap();
        assert!(page.len() <= limit as usize);
        let Some((last, _)) = page.last() else { return all };
        after = Some(*last);
        all.extend(page.into_iter().map(|(_, attempt)| attempt));
    }
}

async fn an_attempt_is_read_back_as_it_was_logged(store: Store) {
    store.log_attempts(&[]).await.unwrap();
    let attempts = [
        attempt(&erp(), "a", 3),
        Attempt {
            kind: EventType::MediaLost,
            attempt: 17,
            duration: Duration::from_secs(86_400 * 8),
            status: None,
            error: Some("no answer\0".into()),
            ..attempt(&erp(), "b", 2)
        },
        Attempt { duration: Duration::ZERO, status: Some(999), ..attempt(&erp(), "c", 1) },
    ];
    store.log_attempts(&attempts).await.unwrap();
    let mut expected = attempts.to_vec();
    expected[1].error = Some("no answer\u{fffd}".into());
    assert_eq!(all(&store, &AttemptFilter::default(), 10).await, expected);
}

async fn attempts_are_listed_newest_first_page_by_page(store: Store) {
    // Five of each second, in three batches.
    let attempts: Vec<_> = (0..60).map(|n| attempt(&erp(), &n.to_string(), n / 5)).collect();
    for batch in attempts.chunks(25) {
        store.log_attempts(batch).await.unwrap();
    }
    let expected: Vec<_> = attempts.into_iter().rev().collect();
    for limit in [1, 4, 7, 60, 100] {
        assert_eq!(all(&store, &AttemptFilter::default(), limit).await, expected, "{limit}");
    }
}

async fn attempts_of_one_event_or_those_that_failed_are_found(store: Store) {
    let attempts = [
        failed("a", 1),
        attempt(&erp(), "b", 2),
        failed("a", 3),
        failed("b", 4),
        attempt(&erp(), "a", 5),
        attempt(&key("acme", "acme-shop"), "a", 6),
    ];
    store.log_attempts(&attempts).await.unwrap();
    let times = async |event: Option<EventId>, failed_only| {
        let found = all(&store, &AttemptFilter { event, failed_only }, 2).await;
        found.into_iter().map(|attempt| attempt.at).collect::<Vec<_>>()
    };
    let of = |event: &str| Some(EventId::of(&[event]));
    assert_eq!(times(of("a"), false).await, [at(5), at(3), at(1)]);
    assert_eq!(times(of("a"), true).await, [at(3), at(1)]);
    assert_eq!(times(None, true).await, [at(4), at(3), at(1)]);
    for unknown in ["nobody", "", "0123456789ABCDEF0123456789ABCDEF", "'; --"] {
        assert_eq!(times(Some(EventId::kept(unknown)), false).await, [], "{unknown}");
    }
    assert_eq!(times(of("c"), false).await, []);
}

async fn another_tenants_attempts_are_nowhere(store: Store) {
    let other = key("beta", "acme-erp");
    store.log_attempts(&[attempt(&other, "a", 1), attempt(&erp(), "a", 2)]).await.unwrap();
    for filter in
        [AttemptFilter::default(), AttemptFilter { event: Some(EventId::of(&["a"])), failed_only: false }]
    {
        assert_eq!(all(&store, &filter, 10).await, [attempt(&erp(), "a", 2)]);
        assert_eq!(store.attempts(&other, &filter, None, 10).await.unwrap().len(), 1);
    }
}

/// Logs attempts of these ages in days.
async fn log(store: &Store, key: &EndpointKey, ages: &[i64]) {
    let now = Timestamp::now();
    let attempt = |days: &i64| Attempt {
        at: now - SignedDuration::from_hours(24 * days),
        ..attempt(key, &days.to_string(), 0)
    };
    store.log_attempts(&ages.iter().map(attempt).collect::<Vec<_>>()).await.unwrap();
}

async fn what_is_older_than_seven_days_is_pruned_in_batches(store: Store) {
    let other = key("beta", "beta-erp");
    log(&store, &erp(), &[0, 1, 6, 8, 9, 10, 11, 12]).await;
    log(&store, &other, &[0, 30]).await;
    // Events are kept for longer than that.
    let before = Timestamp::now() - SignedDuration::from_hours(24 * 90);
    let mut steps = Vec::new();
    loop {
        let pruned = store.prune(&tenant(), before, 2).await.unwrap();
        if pruned.is_empty() {
            break;
        }
        assert_eq!(pruned, Pruned { attempts: pruned.attempts, ..Pruned::default() });
        steps.push(pruned.attempts);
    }
    assert_eq!(steps, [2, 2, 1]);
    assert_eq!(all(&store, &AttemptFilter::default(), 10).await.len(), 3);
    assert_eq!(store.attempts(&other, &AttemptFilter::default(), None, 10).await.unwrap().len(), 2);
}

async fn a_tenant_that_keeps_less_keeps_fewer_attempts(store: Store) {
    log(&store, &erp(), &[0, 1, 3, 6]).await;
    let before = Timestamp::now() - SignedDuration::from_hours(48);
    assert_eq!(store.prune(&tenant(), before, 100).await.unwrap().attempts, 2);
    assert_eq!(all(&store, &AttemptFilter::default(), 10).await.len(), 2);
}
