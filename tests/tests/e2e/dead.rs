//! What could not be processed is listed, shown and replayed by `staffetta dead`.

use serde_json::Value;
use staffetta_proto::{Message as _, v1};
use staffetta_testkit::until;
use staffetta_tests::{Answer, Installation, LIMIT, Number, ORDERS, Setup, message, text, webhook};

use crate::{apply_lines, only};

/// A number that nobody owns at first.
const NEW: Number =
    Number { channel: "acme-new", tenant: "acme", phone_number_id: "100300", display: "390281456200" };

/// `staffetta dead`, which must end as it says.
async fn dead(staffetta: &Installation, arguments: &[&str], code: i32) -> Answer {
    let answer = staffetta.run(&[&["dead"], arguments].concat()).await.unwrap();
    assert_eq!(answer.code, Some(code), "{arguments:?}: {answer:?}");
    answer
}

/// The letters on DEAD.
async fn letters(staffetta: &Installation) -> Vec<Value> {
    let list = dead(staffetta, &["list", "--json", "--limit", "1000"], 0).await;
    list.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Waits until there are so many letters.
async fn until_letters(staffetta: &Installation, count: usize) -> Vec<Value> {
    let found = until("dead letters", LIMIT, async || {
        let letters = letters(staffetta).await;
        (letters.len() == count).then_some(letters)
    });
    found.await.unwrap()
}

#[tokio::test]
async fn webhooks_of_a_number_that_is_registered_later_are_told_once() {
    let (staffetta, mut up) = Installation::up(Setup::default()).await.unwrap();
    let streams = staffetta.streams().await.unwrap();
    assert_eq!(dead(&staffetta, &["list"], 0).await.stderr, "no dead letters\n");
    staffetta.meta.deliver(&webhook(NEW, &[message("wamid.A"), message("wamid.B")], &[])).await.unwrap();
    staffetta.meta.deliver(&serde_json::json!({"entry": []})).await.unwrap();
    let found = until_letters(&staffetta, 3).await;

    let id = |letter: &Value| letter["id"].as_str().unwrap().to_owned();
    let unrouted: Vec<String> =
        found.iter().filter(|letter| letter["reason"] == "unrouted").map(id).collect();
    assert_eq!(unrouted.len(), 2);
    let table = dead(&staffetta, &["list", "--reason", "unrouted", "--service", "recorder"], 0).await.stdout;
    assert_eq!(table.lines().count(), 3, "{table}");
    assert!(table.contains(&unrouted[0]) && !table.contains("wamid"), "{table}");
    let page = dead(&staffetta, &["list", "--limit", "1"], 0).await;
    assert!(page.stderr.contains("--from d"), "{page:?}");

    let shown = dead(&staffetta, &["show", &unrouted[0]], 0).await.stdout;
    assert!(shown.contains("wamid.") && shown.contains("goes to staffetta.v1.webhook."), "{shown}");
    let shown = dead(&staffetta, &["show", &unrouted[0], "--json"], 0).await.stdout;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["payload"]["object"], "whatsapp_business_account");
    let missing = dead(&staffetta, &["show", "d999"], 1).await;
    assert_eq!(missing.stderr, "error: there is no dead letter d999\n");

    // What is asked for must be said.
    assert_eq!(staffetta.run(&["dead", "replay"]).await.unwrap().code, Some(2));
    let dry = dead(&staffetta, &["replay", "--reason", "unrouted", "--dry-run"], 0).await.stdout;
    assert!(dry.ends_with("2 replayed, 0 failed (dry run: nothing was done)\n"), "{dry}");
    assert_eq!(letters(&staffetta).await, found);

    // Too early: they die again, each as one letter.
    dead(&staffetta, &["replay", "--reason", "unrouted"], 0).await;
    let again = until("the letters to come back", LIMIT, async || {
        let letters = letters(&staffetta).await;
        let back =
            letters.len() == 3 && !unrouted.iter().any(|old| letters.iter().any(|new| id(new) == *old));
        back.then_some(letters)
    });
    again.await.unwrap();

    staffetta.add_channel(NEW).await.unwrap();
    // The recorder may hear of the channel a moment later.
    until("the webhooks to be told", LIMIT, async || {
        dead(&staffetta, &["replay", "--reason", "unrouted"], 0).await;
        staffetta.settled(&streams).await.unwrap();
        (letters(&staffetta).await.len() == 1).then_some(())
    })
    .await
    .unwrap();
    let events = streams.events().await.unwrap();
    for wamid in ["wamid.A", "wamid.B"] {
        let source = &only(&events, "message.received", wamid).source;
        assert_eq!(source, "/tenants/acme/channels/acme-new");
    }

    // A letter that is gone is no success.
    let gone = dead(&staffetta, &["replay", &unrouted[0]], 1).await;
    assert_eq!(gone.stderr, format!("{}: it is not there\n", unrouted[0]));
    assert_eq!(gone.stdout, "0 replayed, 1 failed\n");
    up.stop().await.unwrap();
}

#[tokio::test]
async fn a_command_that_was_rejected_is_sent_once_after_a_replay() {
    let setup = Setup::default();
    let registry = setup.registry.clone();
    let staffetta = Installation::prepare(setup).await.unwrap();
    let mut up = staffetta.start("up").await.unwrap();
    let streams = staffetta.streams().await.unwrap();
    // A channel that can't send yet.
    apply_lines(&staffetta, "tenant = [{ id = \"acme\" }]\nchannel = [{ id = \"acme-orders\", tenant = \"acme\", provider = \"cloud_api\" }]").await;
    let tenant = staffetta.tenant(ORDERS, &streams);
    tenant.send(&text("inv-1", "393481213456")).await.unwrap();
    // One that names itself in its header alone.
    let unnamed = br#"{"to":"393481213456","type":"text","text":{"body":"inv-2"}}"#.to_vec();
    let subject = tenant.subject(ORDERS.channel, "normal");
    tenant.send_bytes(subject, Some("inv-2"), "application/json", unnamed).await.unwrap();
    let rejected = ["inv-1", "inv-2"].map(|id| ("command.rejected", id.to_owned()));
    staffetta.told(&streams, &rejected).await.unwrap();
    until_letters(&staffetta, 2).await;

    staffetta.apply(&registry).await.unwrap();
    let accepted = ["inv-1", "inv-2"].map(|id| ("command.accepted", id.to_owned()));
    // The dispatcher may hear of the number a moment later: then they are rejected again, and one that was replayed
    // within the last tenth of a second has to wait, which the exit code says.
    until("the commands to be sent", LIMIT, async || {
        let replay = ["dead", "replay", "--tenant", "acme", "--reason", "invalid_command"];
        let replayed = staffetta.run(&replay).await.unwrap();
        staffetta.settled(&streams).await.unwrap();
        replayed.stdout.starts_with("0 replayed, 0 failed").then_some(())
    })
    .await
    .unwrap();
    let events = staffetta.told(&streams, &accepted).await.unwrap();
    for (kind, id) in &accepted {
        only(&events, kind, id);
        assert_eq!(staffetta.sends(ORDERS).iter().filter(|send| send.text.as_deref() == Some(id)).count(), 1);
    }
    assert!(letters(&staffetta).await.is_empty());
    up.stop().await.unwrap();
}

#[tokio::test]
async fn what_may_have_been_sent_is_replayed_only_by_name() {
    let staffetta = Installation::prepare(Setup::default()).await.unwrap();
    assert_eq!(staffetta.run(&["migrate"]).await.unwrap().code, Some(0));
    let letter = v1::DeadLetter {
        service: "dispatcher".into(),
        tenant: ORDERS.tenant.into(),
        channel: ORDERS.channel.into(),
        reason: "outcome_unknown".into(),
        subject: "staffetta.v1.send.acme.acme-orders.normal".into(),
        content_type: "application/json".into(),
        payload: text("inv-1", "393481213456").to_string().into(),
        command: "inv-1".into(),
        ..v1::DeadLetter::default()
    };
    let client = async_nats::connect(staffetta.nats.as_ref().unwrap().url()).await.unwrap();
    let jetstream = async_nats::jetstream::new(client);
    let subject = "staffetta.v1.dead.dispatcher.acme.acme-orders";
    jetstream.publish(subject, letter.encode_to_vec().into()).await.unwrap().await.unwrap();

    for all in [&["--all"][..], &["--tenant", "acme"]] {
        let answer = dead(&staffetta, &[&["replay"], all].concat(), 0).await;
        assert_eq!(answer.stdout, "0 replayed, 0 failed, 1 left alone\n");
        assert!(answer.stderr.contains("outcome_unknown"), "{answer:?}");
    }
    let dry = dead(&staffetta, &["replay", "d1", "--dry-run"], 0).await;
    assert!(dry.stdout.starts_with("d1 outcome_unknown would go to staffetta.v1.send."), "{dry:?}");
    let named = dead(&staffetta, &["replay", "--reason", "outcome_unknown"], 0).await;
    assert_eq!(named.stdout, "1 replayed, 0 failed\n");
    assert!(letters(&staffetta).await.is_empty());
    assert_eq!(staffetta.streams().await.unwrap().waiting("SEND").await.unwrap(), 1);
}
