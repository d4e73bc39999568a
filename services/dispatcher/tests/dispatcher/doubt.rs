//! A send whose answer is missing.

use serde_json::json;
use staffetta_domain::{CommandState, Event};
use staffetta_providers::webhook::{Part, parse};
use staffetta_simulator::{Fault, FaultKind};

use crate::harness::{ANNA, NUMBER, RegistryText, Setup, World, text};

fn of<'a>(events: &'a [Event], kind: &str) -> Vec<&'a Event> {
    events.iter().filter(|event| event.kind.as_str() == format!("staffetta.command.{kind}")).collect()
}

/// How many doubts the tries themselves gave cause for. An owner that loses its lease on a busy machine, and gets it
/// back, tells of one more for each command that it finds open.
fn doubts_of_tries(events: &[Event]) -> usize {
    let doubts = of(events, "in_doubt");
    doubts.iter().filter(|event| event.data["reason"] != "its sender died before the answer").count()
}

#[tokio::test]
async fn a_status_settles_a_send_whose_answer_was_lost() {
    let (world, dispatcher) = World::start(Setup::default()).await;
    world.fault(Fault::times(FaultKind::AcceptThenCut, 1));
    world.send_all("normal", &[text("lost", ANNA), text("next", ANNA)]).await;
    world.told("in_doubt", &["lost"]).await;
    // Nobody but its recipient waits for it.
    world.send("normal", &text("other", "393480000009")).await;
    world.told("accepted", &["other"]).await;
    assert_eq!(world.texts(), ["lost", "other"]);

    let seen = world.sends()[0].clone();
    let status = json!({ "id": seen.wamid, "status": "sent", "timestamp": "1602139392", "recipient_id": ANNA,
        "biz_opaque_callback_data": seen.callback_data });
    record(&world, &json!({ "statuses": [status] })).await;

    world.told("accepted", &["lost", "next"]).await;
    world.settled().await;
    assert_eq!(world.texts(), ["lost", "other", "next"]);
    let events = world.events().await;
    let accepted: Vec<_> =
        of(&events, "accepted").into_iter().filter(|event| event.subject == "lost").collect();
    assert_eq!((accepted.len(), &accepted[0].data["settled_by"]), (1, &json!("status")));
    assert_eq!(doubts_of_tries(&events), 1);
    dispatcher.stop().await;
}

/// As the recorder would.
async fn record(world: &World, lists: &serde_json::Value) {
    let mut value = json!({ "messaging_product": "whatsapp", "metadata": { "phone_number_id": NUMBER } });
    value.as_object_mut().unwrap().extend(lists.as_object().unwrap().clone());
    let body = json!({ "object": "whatsapp_business_account",
        "entry": [{ "id": "W", "changes": [{ "field": "messages", "value": value }] }] });
    let parts = parse(body.to_string().as_bytes(), jiff::Timestamp::now());
    let (tenant, channel) = ("acme".parse().unwrap(), "acme-orders".parse().unwrap());
    let leaves = parts.into_iter().map(|part| match part {
        Part::Found(found) => found.leaf(&tenant, &channel),
        Part::Broken(broken) => panic!("{broken:?}"),
    });
    world.store.record(&leaves.collect::<Vec<_>>()).await.unwrap();
}

#[tokio::test]
async fn without_a_status_it_is_sent_again_once() {
    let mut setup = Setup::default();
    setup.config.doubt_wait_seconds = 1;
    let (world, dispatcher) = World::start(setup).await;
    world.fault(Fault::times(FaultKind::CutBeforeAccept, 1));
    world.send_all("normal", &[text("cut", ANNA), text("next", ANNA)]).await;
    let accepted = world.told("accepted", &["cut", "next"]).await;
    assert_eq!(accepted.iter().find(|event| event.subject == "cut").unwrap().data["attempt"], 2);
    world.settled().await;
    assert_eq!(world.texts(), ["cut", "next"]);
    assert_eq!(world.report(NUMBER).received, 3);
    assert_eq!(doubts_of_tries(&world.events().await), 1);
    dispatcher.stop().await;
}

#[tokio::test]
async fn each_try_s_doubt_is_told() {
    let mut setup = Setup::default();
    setup.config.doubt_wait_seconds = 1;
    let (world, dispatcher) = World::start(setup).await;
    world.fault(Fault::times(FaultKind::Html502, 2));
    world.send("normal", &text("twice", ANNA)).await;
    world.told("accepted", &["twice"]).await;
    world.settled().await;
    assert_eq!(doubts_of_tries(&world.events().await), 2);
    assert_eq!(world.texts(), ["twice"]);
    dispatcher.stop().await;
}

#[tokio::test]
async fn a_tenant_that_parks_doubts_decides_itself() {
    let mut setup = Setup::default();
    setup.config.doubt_wait_seconds = 1;
    setup.registry.doubt_policy = "park";
    let (world, dispatcher) = World::start(setup).await;
    world.fault(Fault::times(FaultKind::CutBeforeAccept, 1));
    world.send_all("normal", &[text("parked", ANNA), text("next", ANNA)]).await;
    let failed = world.told("failed", &["parked"]).await;
    assert_eq!(failed[0].data["code"], "outcome_unknown");
    world.told("accepted", &["next"]).await;
    world.settled().await;
    assert_eq!(world.reasons().await, ["outcome_unknown"]);
    assert_eq!(world.texts(), ["next"]);
    dispatcher.stop().await;
}

#[tokio::test]
async fn what_a_dead_owner_claimed_is_in_doubt_even_if_it_has_expired() {
    let mut setup = Setup::default();
    setup.config.doubt_wait_seconds = 1;
    let world = World::prepare(setup).await;
    let mut command = text("claimed", ANNA);
    command["expires_at"] = "2020-01-01T00:00:00Z".into();
    world.store.claim(&[claim("claimed")]).await.unwrap();
    world.send("normal", &command).await;
    let dispatcher = world.dispatcher().await;
    let failed = world.told("failed", &["claimed"]).await;
    assert_eq!(failed[0].data["code"], "outcome_unknown");
    world.settled().await;
    let mut kinds: Vec<_> = world.events().await.iter().map(|event| event.kind.as_str()).collect();
    // Each owner tells its own doubt: on a busy machine one may lose its lease before it has judged.
    kinds.dedup();
    assert_eq!(kinds, ["staffetta.command.in_doubt", "staffetta.command.failed"]);
    dispatcher.stop().await;
}

#[tokio::test]
async fn what_may_have_been_sent_is_not_rejected_when_its_channel_goes() {
    let mut setup = Setup::default();
    setup.config.doubt_wait_seconds = 1;
    setup.registry = RegistryText { owner: "", ..RegistryText::default() };
    let world = World::prepare(setup).await;
    world.store.claim(&[claim("claimed")]).await.unwrap();
    world.send_all("normal", &[text("claimed", ANNA), text("never", ANNA)]).await;
    let dispatcher = world.dispatcher().await;
    world.told("failed", &["claimed"]).await;
    world.told("rejected", &["never"]).await;
    world.settled().await;
    assert_eq!(world.record("claimed").await.unwrap().state, CommandState::Failed);
    assert_eq!(world.reasons().await, ["outcome_unknown", "unknown_channel"]);
    dispatcher.stop().await;
}

/// A claim of an owner that is gone.
fn claim(id: &str) -> staffetta_store::Claim {
    let tenant: staffetta_domain::TenantId = "acme".parse().unwrap();
    let channel: staffetta_domain::ChannelId = "acme-orders".parse().unwrap();
    staffetta_store::Claim {
        in_doubt: Event {
            id: staffetta_domain::EventId::of(&["doubt", id]),
            tenant: tenant.clone(),
            channel: channel.clone(),
            kind: staffetta_domain::EventType::CommandInDoubt,
            time: jiff::Timestamp::now(),
            subject: id.into(),
            data: staffetta_domain::Object::new(),
            trace: None,
        },
        tenant,
        channel,
        id: id.parse().unwrap(),
        lane: staffetta_domain::Lane::Normal,
        user: ANNA.into(),
        kind: "text".into(),
        content: "{}".into(),
        callback_data: None,
        epoch: 0,
        sequence: 1,
        at: jiff::Timestamp::now(),
        trace: None,
    }
}
