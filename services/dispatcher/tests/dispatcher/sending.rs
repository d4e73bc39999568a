//! What a command's way looks like when nothing goes wrong with it.

use serde_json::json;
use staffetta_domain::CommandState;
use staffetta_simulator::{Fault, FaultKind};

use futures_util::StreamExt;

use crate::harness::{
    ANNA, BRUNO, LIMIT, NUMBER, Setup, Storage, World, assert_once_in_order, json_headers, protobuf, text,
    texts,
};

/// More tries than there is time for, however slow the machine is.
const MANY: u32 = 1_000;

#[tokio::test]
async fn a_command_in_json_and_one_in_protocol_buffers_are_sent() {
    for storage in [Storage::Sqlite, Storage::Postgres] {
        let (world, dispatcher) = World::start(Setup { storage, ..Setup::default() }).await;
        let mut command = text("json", ANNA);
        command["callback_data"] = json!("the tenant's own");
        world.send("normal", &command).await;
        let proto = protobuf(&text("proto", BRUNO));
        world.publish("acme.acme-orders.normal", async_nats::HeaderMap::new(), proto).await;

        let events = world.told("accepted", &["json", "proto"]).await;
        assert_eq!(events.len(), 2);
        let told = events.iter().find(|event| event.subject == "json").unwrap();
        assert_eq!(told.data["callback_data"], "the tenant's own");
        assert_eq!(told.data["attempt"], 1);
        world.settled().await;
        let sends = world.sends();
        let sent = |text: &str| sends.iter().find(|send| send.text.as_deref() == Some(text)).unwrap();
        assert_eq!(sends.len(), 2);
        assert_eq!(sent("json").to, ANNA);
        assert_eq!(sent("json").callback_data.as_deref(), Some("st2:822b33ad87c148a0:1:json"));
        assert_eq!(sent("proto").callback_data.as_deref(), Some("st2:822b33ad87c148a0:1:proto"));
        let record = world.record("json").await.unwrap();
        assert_eq!((record.state, record.attempt), (CommandState::Accepted, 1));
        assert_eq!(record.wamid.unwrap().as_str(), sent("json").wamid);
        dispatcher.stop().await;
    }
}

#[tokio::test]
async fn a_command_without_an_id_takes_its_message_id_or_gets_one() {
    let (world, dispatcher) = World::start(Setup::default()).await;
    let mut command = text("x", ANNA);
    command.as_object_mut().unwrap().remove("id");
    let mut headers = json_headers();
    headers.insert("Nats-Msg-Id", "by-header");
    world.publish("acme.acme-orders.normal", headers, command.to_string()).await;
    world.told("accepted", &["by-header"]).await;
    world.publish("acme.acme-orders.normal", json_headers(), command.to_string()).await;
    world.sent(2).await;
    world.settled().await;
    let made_up = world.sends()[1].callback_data.clone().unwrap();
    assert!(made_up.contains(":1:c-"), "{made_up}");
    dispatcher.stop().await;
}

#[tokio::test]
async fn the_same_id_is_sent_once() {
    let (world, dispatcher) = World::start(Setup::default()).await;
    world.send("normal", &text("twin", ANNA)).await;
    world.send("normal", &text("twin", ANNA)).await;
    world.send("urgent", &text("twin", ANNA)).await;
    world.send("bulk", &text("twin", BRUNO)).await;
    world.told("accepted", &["twin"]).await;
    world.settled().await;
    world.send("normal", &text("twin", BRUNO)).await;
    world.settled().await;
    // One that can't be sent does not touch the one that was.
    world.send("normal", &json!({ "id": "twin", "type": "text", "text": { "body": "x" } })).await;
    world.settled().await;
    assert_eq!(world.sends().len(), 1);
    assert_eq!(world.record("twin").await.unwrap().state, CommandState::Accepted);
    assert_eq!(world.events().await.len(), 1);
    assert_eq!(world.reasons().await, ["invalid_command"]);
    dispatcher.stop().await;
}

#[tokio::test]
async fn an_urgent_command_overtakes_a_backlog() {
    let mut setup = Setup::default();
    setup.registry.rate = 50;
    let world = World::prepare(setup).await;
    // It is there before the first of it is sent: publishing may take longer than sending.
    let backlog = texts("bulk", 300, 300);
    world.send_all("bulk", &backlog).await;
    let dispatcher = world.dispatcher().await;
    world.sent(10).await;
    world.send("urgent", &text("urgent", ANNA)).await;
    world.send("normal", &text("normal", ANNA)).await;
    world.told("accepted", &["urgent", "normal"]).await;
    let order = world.texts();
    let place = |text: &str| order.iter().position(|sent| sent == text).unwrap();
    // They may go one right after the other, each over a connection of its own: a few places are no order.
    assert!(place("urgent") < place("normal") + 10, "urgent first");
    for lane in ["urgent", "normal"] {
        assert!(place(lane) < 200, "{lane} at {} of 302", place(lane));
    }
    dispatcher.stop().await;
}

#[tokio::test]
async fn a_recipient_s_order_holds_through_errors_and_others_do_not_wait() {
    let mut setup = Setup::default();
    setup.config.max_tries = MANY;
    let (world, dispatcher) = World::start(setup).await;
    let fault = FaultKind::Error { code: 131_016 };
    world.fault(Fault { recipient: Some(ANNA.into()), ..Fault::always(fault) });
    let annas: Vec<_> = (0..10).map(|n| text(&format!("anna-{n}"), ANNA)).collect();
    let others = texts("other", 60, 6);
    for (n, other) in others.iter().enumerate() {
        if let Some(anna) = annas.get(n) {
            world.send("normal", anna).await;
        }
        world.send("normal", other).await;
    }
    world.accepted(&others).await;
    assert!(world.sends().iter().all(|send| send.to != ANNA));
    world.provider.clear_faults();
    world.fault(Fault { probability: 0.3, ..Fault::times(fault, 3) });
    world.accepted(&annas).await;
    world.settled().await;
    assert_once_in_order(&world.sends(), &[annas, others].concat());
    let report = world.report(NUMBER);
    assert!(report.refused[&131_016] >= 1);
    assert_eq!(report.duplicates, 0);
    dispatcher.stop().await;
}

#[tokio::test]
async fn a_lane_full_of_one_recipient_blocks_no_other_lane() {
    let mut setup = Setup::default();
    setup.config.max_tries = MANY;
    let (world, dispatcher) = World::start(setup).await;
    world.fault(Fault { recipient: Some(ANNA.into()), ..Fault::always(FaultKind::Error { code: 131_016 }) });
    let stuck: Vec<_> = (0..3_000).map(|n| text(&format!("stuck-{n}"), ANNA)).collect();
    for chunk in stuck.chunks(500) {
        futures_util::future::join_all(chunk.iter().map(|command| world.send("bulk", command))).await;
    }
    staffetta_testkit::until("the lane to be stuck", LIMIT, async || {
        (world.report(NUMBER).received > 0).then_some(())
    })
    .await
    .unwrap();
    let others = texts("other", 50, 50);
    world.send_all("normal", &others[..40]).await;
    world.send_all("urgent", &others[40..]).await;
    world.accepted(&others).await;
    assert!(world.sends().iter().all(|send| send.to != ANNA));
    // A stop takes little time to purge what is settled.
    staffetta_testkit::until("the others to leave SEND", LIMIT, async || {
        (world.waiting().await == 3_000).then_some(())
    })
    .await
    .unwrap();
    dispatcher.stop().await;
    assert_eq!(world.waiting().await, 3_000);
}

#[tokio::test]
async fn a_publisher_that_names_a_subject_of_its_own_is_answered() {
    let (world, dispatcher) = World::start(Setup::default()).await;
    let client = world.bus.client();
    let mut answers = client.subscribe("staffetta.v1.answer.acme.>").await.unwrap();
    let mut others = client.subscribe("staffetta.v1.answer.beta.>").await.unwrap();
    client.flush().await.unwrap();
    let ask = async |command: &serde_json::Value, subject: &str| {
        let mut headers = json_headers();
        headers.insert("Staffetta-Reply-To", subject);
        world.publish("acme.acme-orders.normal", headers, command.to_string()).await;
    };
    ask(&text("asked", ANNA), "staffetta.v1.answer.acme.7.asked").await;
    ask(&serde_json::json!({ "id": "wrong" }), "staffetta.v1.answer.acme.7.wrong").await;
    ask(&text("foreign", ANNA), "staffetta.v1.answer.beta.7.foreign").await;
    world.told("accepted", &["asked"]).await;
    let rejected = world.told("rejected", &["wrong", "foreign"]).await;
    let foreign = rejected.iter().find(|event| event.subject == "foreign").unwrap();
    assert_eq!(foreign.data["error"]["field"], "Staffetta-Reply-To");

    let mut seen = Vec::new();
    for _ in 0..2 {
        let answer = tokio::time::timeout(LIMIT, answers.next()).await.unwrap().unwrap();
        let event: serde_json::Value = serde_json::from_slice(&answer.payload).unwrap();
        seen.push((answer.subject.to_string(), event["type"].as_str().unwrap().to_owned()));
    }
    seen.sort();
    assert_eq!(
        seen,
        [
            ("staffetta.v1.answer.acme.7.asked".into(), "staffetta.command.accepted".into()),
            ("staffetta.v1.answer.acme.7.wrong".into(), "staffetta.command.rejected".into()),
        ]
    );
    // A command is answered before it leaves SEND, and who looks at SEND has heard on the same connection what was
    // published before.
    world.settled().await;
    assert!(futures_util::FutureExt::now_or_never(others.next()).is_none());
    dispatcher.stop().await;
}
