//! Endpoints that are changed, switched off and on, and asked to tell again, while events flow.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::{Value, json};
use staffetta_testkit::until;
use staffetta_tests::{
    Hook, HookPost, Installation, LIMIT, ORDERS, SeenEvent, Setup, Streams, Tenant, User, text,
};

use crate::arrivals::{
    assert_arrived, begun, event, has, hook_lines, shown_as, silenced, taken, takes_all, told_to_acme, writes,
};
use crate::{all, apply_lines};

/// Ten users write twice each; all of it is told when this returns.
async fn some_write(staffetta: &Installation, streams: &Streams, name: &str) -> Vec<String> {
    let mut wamids = Vec::new();
    for n in 0..20 {
        let wamid = format!("wamid.{name}-{n}");
        writes(staffetta, &User::of_phone("Anna", &format!("3934814{:05}", n % 10)), &wamid).await;
        wamids.push(wamid);
    }
    let wanted: Vec<_> = wamids.iter().map(|wamid| ("message.received", wamid.clone())).collect();
    staffetta.told(streams, &wanted).await.unwrap();
    wamids
}

#[track_caller]
fn assert_none_of(posts: &[HookPost], wamids: &[String]) {
    for wamid in wamids {
        assert!(!has(posts, wamid), "{wamid} came");
    }
}

/// Enables acme-erp, which has something to be told.
async fn enabled(acme: &Tenant) {
    let (status, endpoint) = acme.write("/v1/endpoints/acme-erp/enable", &json!({})).await.unwrap();
    assert_eq!((status.as_u16(), &endpoint["disabled"]), (200, &Value::Null), "{endpoint}");
    // It may be known as failing until something is taken again.
    let delivering = async || {
        let endpoint = acme.read("/v1/endpoints/acme-erp").await.ok()?.1;
        (endpoint["state"] == "delivering").then_some(())
    };
    until("it to be delivered to", LIMIT, delivering).await.unwrap();
}

/// Waits until each of these was posted to one of them: then nothing of it is on its way any more.
async fn arrived(told: &[SeenEvent], hooks: [&Hook; 2]) {
    let arrived = async || {
        let ids: BTreeSet<String> =
            hooks.iter().flat_map(|hook| taken(&hook.posts())).map(|event| event.id).collect();
        told.iter().all(|event| ids.contains(&event.id)).then_some(())
    };
    until("all of it to arrive", LIMIT, arrived).await.unwrap();
}

#[tokio::test]
async fn a_changed_endpoint_is_followed_live() {
    let (staffetta, up) = Installation::up(Setup::default()).await.unwrap();
    let streams = staffetta.streams().await.unwrap();
    let acme = staffetta.tenant(ORDERS, &streams);
    let (before, after) = (Hook::start().await.unwrap(), Hook::start().await.unwrap());
    apply_lines(&staffetta, &hook_lines("acme-erp", before.url())).await;
    let from = begun(&staffetta, &streams, "begin", || !before.posts().is_empty()).await;

    // It moves, and nothing is lost on the way.
    let stay = some_write(&staffetta, &streams, "before").await;
    takes_all(&before, &told_to_acme(&streams, from).await).await;
    apply_lines(&staffetta, &hook_lines("acme-erp", after.url())).await;
    silenced(&staffetta, "moving", &after, &before).await;
    arrived(&told_to_acme(&streams, from).await, [&before, &after]).await;
    let came = before.posts().len();
    let moved = some_write(&staffetta, &streams, "after").await;
    let told = told_to_acme(&streams, from).await;
    let wanted: Vec<SeenEvent> =
        told.iter().filter(|event| moved.contains(&event.subject)).cloned().collect();
    assert_arrived(&wanted, &taken(&takes_all(&after, &wanted).await));
    if up.kept_its_parts() {
        assert_eq!(before.posts().len(), came);
        assert_none_of(&after.posts(), &stay);
    }
    assert_arrived(&told, &[taken(&before.posts()), taken(&after.posts())].concat());

    // It wants messages alone from now on: a command's end before a message of the same conversation does not come.
    apply_lines(&staffetta, &(hook_lines("acme-erp", after.url()) + "types = [\"message.received\"]\n"))
        .await;
    let user = User::of_phone("Berta", "393481500000");
    let mut n = 0;
    let filtered = until("the filter to be followed", LIMIT, async || {
        n += 1;
        let command = text(&format!("filtered-{n}"), user.phone.as_deref()?);
        acme.send(&command).await.ok()?;
        staffetta.told(&streams, &all("command.accepted", std::slice::from_ref(&command))).await.ok()?;
        let wamid = format!("wamid.filtered-{n}");
        writes(&staffetta, &user, &wamid).await;
        let posts = after.until(|posts| has(posts, &wamid)).await.ok()?;
        (!has(&posts, command["id"].as_str()?)).then_some(())
    });
    filtered.await.unwrap();
    let shown = acme.read("/v1/endpoints/acme-erp").await.unwrap().1;
    assert_eq!(shown["types"], json!(["message.received"]), "{shown}");

    // Switched off in the registry, and on again: what happened meanwhile comes.
    let watch = Hook::start().await.unwrap();
    apply_lines(&staffetta, &hook_lines("acme-watch", watch.url())).await;
    begun(&staffetta, &streams, "watch", || !watch.posts().is_empty()).await;
    let lines = hook_lines("acme-erp", after.url());
    apply_lines(&staffetta, &(lines.clone() + "enabled = false\n")).await;
    shown_as(&up, "acme-erp", "disabled").await;
    silenced(&staffetta, "off", &watch, &after).await;
    let place = streams.events().await.unwrap().len();
    let meanwhile = some_write(&staffetta, &streams, "meanwhile").await;
    let told = told_to_acme(&streams, place).await;
    takes_all(&watch, &told).await;
    assert_none_of(&after.posts(), &meanwhile);
    apply_lines(&staffetta, &lines).await;
    assert_arrived(&told, &taken(&takes_all(&after, &told).await));
}

#[tokio::test]
async fn an_endpoint_is_disabled_and_enabled_over_the_api_and_by_its_own_answer() {
    let (staffetta, up) = Installation::up(Setup::default()).await.unwrap();
    let streams = staffetta.streams().await.unwrap();
    let acme = staffetta.tenant(ORDERS, &streams);
    let (erp, watch) = (Hook::start().await.unwrap(), Hook::start().await.unwrap());
    apply_lines(&staffetta, &(hook_lines("acme-erp", erp.url()) + &hook_lines("acme-watch", watch.url())))
        .await;
    let from =
        begun(&staffetta, &streams, "begin", || !erp.posts().is_empty() && !watch.posts().is_empty()).await;

    let (status, endpoint) =
        acme.write("/v1/endpoints/acme-erp/disable", &json!({ "reason": "upkeep" })).await.unwrap();
    assert_eq!((status.as_u16(), &endpoint["state"]), (200, &"disabled".into()), "{endpoint}");
    assert_eq!(endpoint["disabled"]["reason"], "upkeep");
    shown_as(&up, "acme-erp", "disabled").await;
    silenced(&staffetta, "disabled", &watch, &erp).await;
    let missed = some_write(&staffetta, &streams, "missed").await;
    takes_all(&watch, &told_to_acme(&streams, from).await).await;
    assert_none_of(&erp.posts(), &missed);
    enabled(&acme).await;
    let told = told_to_acme(&streams, from).await;
    assert_arrived(&told, &taken(&takes_all(&erp, &told).await));

    // Gone for good, as it says itself.
    erp.answers(410);
    some_write(&staffetta, &streams, "gone").await;
    let disabled = async || {
        let endpoint = acme.read("/v1/endpoints/acme-erp").await.ok()?.1;
        (endpoint["state"] == "disabled").then_some(())
    };
    until("it to be disabled", LIMIT, disabled).await.unwrap();
    erp.answers(200);
    enabled(&acme).await;
    changes(&streams, &["disabled", "enabled", "disabled", "enabled"]).await;
    let told = told_to_acme(&streams, from).await;
    assert_arrived(&told, &taken(&takes_all(&erp, &told).await));
    let seen = taken(&takes_all(&watch, &told).await);
    assert_arrived(&told, &seen);
    let changes = seen.iter().filter(|event| event.is("endpoint.changed", "acme-erp"));
    assert_eq!(changes.map(|event| &event.id).collect::<BTreeSet<_>>().len(), 4);
}

/// Waits until these changes of acme-erp are told.
async fn changes(streams: &Streams, wanted: &[&str]) {
    let told = until("the changes to be told", LIMIT, async || {
        let mut events = streams.events().await.ok()?;
        events.retain(|event| event.is("endpoint.changed", "acme-erp"));
        (events.len() >= wanted.len()).then_some(events)
    });
    let told = told.await.unwrap();
    assert!(told.iter().all(|event| event.source == "/tenants/acme/channels/none"), "{told:#?}");
    let changes: Vec<&str> = told.iter().filter_map(|event| event.data["change"].as_str()).collect();
    assert_eq!(changes, wanted, "{told:#?}");
}

#[tokio::test]
async fn a_range_of_time_is_told_again_under_the_same_ids() {
    let (staffetta, up) = Installation::up(Setup::default()).await.unwrap();
    let streams = staffetta.streams().await.unwrap();
    let acme = staffetta.tenant(ORDERS, &streams);
    let erp = Hook::start().await.unwrap();
    apply_lines(&staffetta, &hook_lines("acme-erp", erp.url())).await;
    let from = begun(&staffetta, &streams, "begin", || !erp.posts().is_empty()).await;

    some_write(&staffetta, &streams, "first").await;
    let start = Timestamp::now().to_string();
    let again = some_write(&staffetta, &streams, "second").await;
    let end = Timestamp::now().to_string();
    some_write(&staffetta, &streams, "third").await;
    let told = told_to_acme(&streams, from).await;
    takes_all(&erp, &told).await;

    let asked = json!({ "from": start, "until": end });
    let (status, job) = acme.write("/v1/endpoints/acme-erp/replay", &asked).await.unwrap();
    assert_eq!(status.as_u16(), 202, "{job}");
    let ended = async || {
        let (_, jobs) = acme.read("/v1/endpoints/acme-erp/replays").await.ok()?;
        jobs["items"].as_array()?.is_empty().then_some(())
    };
    until("the replay to end", LIMIT, ended).await.unwrap();
    let posts = erp.posts();
    assert_arrived(&told, &taken(&posts));
    let mut counts = BTreeMap::<String, usize>::new();
    for post in &posts {
        *counts.entry(event(&post.json()).subject).or_default() += 1;
    }
    for event in &told {
        let (wanted, came) = (if again.contains(&event.subject) { 2 } else { 1 }, counts[&event.subject]);
        assert!(
            came == wanted || came > wanted && !up.kept_its_parts(),
            "{} came {came} times",
            event.subject
        );
    }
    // The second time too, each conversation in its order.
    if up.kept_its_parts() {
        let second: Vec<SeenEvent> =
            told.iter().filter(|event| again.contains(&event.subject)).cloned().collect();
        let came = taken(&posts).split_off(posts.len() - second.len());
        assert_arrived(&second, &came);
    }
    let (status, answer) = acme.write("/v1/endpoints/no-such/replay", &asked).await.unwrap();
    assert_eq!((status.as_u16(), &answer["type"]), (404, &"/problems/endpoint-not-found".into()));
}
