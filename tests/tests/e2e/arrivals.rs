//! What came to an endpoint, beside what was told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;
use staffetta_testkit::until;
use staffetta_tests::{Hook, HookPost, Installation, LIMIT, ORDERS, SeenEvent, Service, Streams, User};
use tokio::time::interval;

use crate::unix_seconds;

/// Between two messages of somebody who writes until something happens.
const PACE: Duration = Duration::from_millis(200);
/// So many that were heard by one and not by the other mean that the other hears nothing any more.
const SILENCE: usize = 4;

/// An endpoint of acme that takes webhooks; what else it has may follow.
pub(crate) fn hook_lines(id: &str, url: &str) -> String {
    format!("[[endpoint]]\nid = {id:?}\ntenant = \"acme\"\nkind = \"webhook\"\nurl = {url:?}\n")
}

/// A user writes this message to acme; it is taken when this returns.
pub(crate) async fn writes(staffetta: &Installation, user: &User, wamid: &str) {
    let now = unix_seconds(std::time::SystemTime::now());
    staffetta.meta.deliver(&user.webhook(ORDERS, &[user.text(wamid, now)])).await.unwrap();
}

/// Lets a user write until `heard`: an endpoint begins with what happens once it was seen. Gives back how many events
/// there were when all of it was told. Each call of one test has a name of its own.
pub(crate) async fn begun(
    staffetta: &Installation,
    streams: &Streams,
    name: &str,
    heard: impl Fn() -> bool,
) -> usize {
    let user = User::of_phone("Prova", "393489999999");
    let mut pace = interval(PACE);
    let mut wamids = Vec::new();
    let begun = until("the endpoints to begin", LIMIT, async || {
        pace.tick().await;
        let wamid = format!("wamid.{name}-{}", wamids.len());
        writes(staffetta, &user, &wamid).await;
        wamids.push(wamid);
        heard().then_some(())
    });
    begun.await.unwrap();
    let wanted: Vec<_> = wamids.into_iter().map(|wamid| ("message.received", wamid)).collect();
    staffetta.told(streams, &wanted).await.unwrap().len()
}

/// Waits until the process that delivers shows the endpoint in this state: it serves it, and knows of what was changed.
pub(crate) async fn shown_as(service: &Service, endpoint: &str, state: &str) {
    let labels = [("endpoint_id", endpoint), ("state", state)];
    service.shows("staffetta_endpoint_state", &labels, "1").await.unwrap();
}

/// Lets users write until the one hears what the other does not hear any more.
pub(crate) async fn silenced(staffetta: &Installation, name: &str, hears: &Hook, silent: &Hook) {
    let mut pace = interval(PACE);
    let mut missed = 0;
    for n in 0.. {
        pace.tick().await;
        assert!(n < 400, "it hears everything still");
        let wamid = format!("wamid.{name}-{n}");
        writes(staffetta, &User::of_phone("Prova", &format!("3934899{n:05}")), &wamid).await;
        hears.until(|posts| has(posts, &wamid)).await.unwrap();
        // What is on its way to the one may still arrive: it counts from the one after.
        missed = if has(&silent.posts(), &wamid) { 0 } else { missed + 1 };
        if missed == SILENCE {
            return;
        }
    }
}

/// Whether something of this wamid or command was posted.
pub(crate) fn has(posts: &[HookPost], subject: &str) -> bool {
    posts.iter().any(|post| post.json()["subject"] == subject)
}

/// An event as a CloudEvent in JSON.
#[track_caller]
pub(crate) fn event(json: &Value) -> SeenEvent {
    let text = |name: &str| json[name].as_str().unwrap_or_else(|| panic!("no {name}: {json}")).to_owned();
    let kind = text("type").strip_prefix("staffetta.").unwrap().to_owned();
    SeenEvent {
        id: text("id"),
        kind,
        source: text("source"),
        subject: text("subject"),
        data: json["data"].clone(),
    }
}

/// The events that were taken: those that were answered with a success.
#[track_caller]
pub(crate) fn taken(posts: &[HookPost]) -> Vec<SeenEvent> {
    posts.iter().filter(|post| post.answered < 300).map(|post| event(&post.json())).collect()
}

/// What was told to acme, from that place on, each once.
pub(crate) async fn told_to_acme(streams: &Streams, from: usize) -> Vec<SeenEvent> {
    let mut events = streams.events().await.unwrap().split_off(from);
    let mut ids = BTreeSet::new();
    events.retain(|event| event.source.starts_with("/tenants/acme/") && ids.insert(event.id.clone()));
    events
}

/// Waits until the service has taken all of these.
pub(crate) async fn takes_all(hook: &Hook, told: &[SeenEvent]) -> Vec<HookPost> {
    let wanted: BTreeSet<&str> = told.iter().map(|event| event.id.as_str()).collect();
    let all = hook.until(|posts| {
        let taken = posts.iter().filter(|post| post.answered < 300);
        let ids: BTreeSet<&str> =
            taken.filter_map(|post| post.headers.get("webhook-id")?.to_str().ok()).collect();
        wanted.is_subset(&ids)
    });
    match all.await {
        Ok(posts) => posts,
        Err(error) => {
            // Which of them: this panics.
            assert_arrived(told, &taken(&hook.posts()));
            panic!("{error:#}")
        }
    }
}

/// Whether all that was told arrived, each the same however often it came, and those of a conversation in their order
/// when they came for the first time. Nothing of anybody else came with it.
#[track_caller]
pub(crate) fn assert_arrived(told: &[SeenEvent], came: &[SeenEvent]) {
    let by_id: BTreeMap<&str, &SeenEvent> = told.iter().map(|event| (event.id.as_str(), event)).collect();
    let mut ids = BTreeSet::new();
    let mut first = Vec::new();
    for event in came {
        assert!(event.source.starts_with("/tenants/acme/"), "{event:?}");
        let Some(told) = by_id.get(event.id.as_str()) else { continue };
        assert_eq!(event, *told, "the same id, and something else");
        if ids.insert(event.id.as_str()) {
            first.push(event.clone());
        }
    }
    assert_eq!(by_conversation(&first), by_conversation(told));
}

/// The kinds and ids of each conversation's events, in their order. What belongs to none stands alone.
fn by_conversation(events: &[SeenEvent]) -> BTreeMap<String, Vec<(String, String)>> {
    let mut found = BTreeMap::<_, Vec<_>>::new();
    for event in events {
        let conversation = event.data["conversation_id"].as_str().unwrap_or(&event.id).to_owned();
        found.entry(conversation).or_default().push((event.kind.clone(), event.id.clone()));
    }
    found
}
