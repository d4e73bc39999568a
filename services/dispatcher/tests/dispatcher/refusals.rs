//! Each class of refusal has its own handling.

use jiff::Timestamp;
use staffetta_domain::CommandState;
use staffetta_simulator::{Fault, FaultKind};
use staffetta_store::Contact;
use staffetta_testkit::until;

use crate::harness::{
    ANNA, BRUNO, CARE, LIMIT, NUMBER, RegistryText, Setup, Storage, World, assert_once_in_order,
    json_headers, text, texts,
};

#[tokio::test]
async fn tries_come_to_an_end() {
    let mut setup = Setup::default();
    setup.config.max_tries = 2;
    let (world, dispatcher) = World::start(setup).await;
    world.error(131_016, 2);
    world.send("normal", &text("doomed", ANNA)).await;
    let failed = world.told("failed", &["doomed"]).await;
    assert_eq!(failed[0].data["code"], "attempts_exhausted");
    assert_eq!(failed[0].data["error"]["code"], 131_016);
    assert_eq!(failed[0].data["attempt"], 2);
    world.send("normal", &text("next", ANNA)).await;
    world.told("accepted", &["next"]).await;
    world.settled().await;
    let letters = world.letters().await;
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].reason, "attempts_exhausted");
    assert_eq!(letters[0].payload, text("doomed", ANNA).to_string());
    assert_eq!(world.report(NUMBER).received, 3);
    dispatcher.stop().await;
}

#[tokio::test]
async fn a_refused_message_fails_and_the_next_one_goes() {
    let (world, dispatcher) = World::start(Setup::default()).await;
    // Not one of the codes that keep the user's next commands back too.
    world.error(131_009, 1);
    world.send_all("normal", &[text("refused", ANNA), text("next", ANNA)]).await;
    world.told("accepted", &["next"]).await;
    let failed = world.told("failed", &["refused"]).await;
    assert_eq!(failed[0].data["error"]["code"], 131_009);
    world.settled().await;
    assert_eq!(world.reasons().await, ["refused"]);
    assert_eq!(world.record("refused").await.unwrap().state, CommandState::Failed);
    assert_eq!(world.texts(), ["next"]);
    dispatcher.stop().await;
}

#[tokio::test]
async fn throttling_spends_no_try() {
    let mut setup = Setup::default();
    setup.config.max_tries = 1;
    let (world, dispatcher) = World::start(setup).await;
    world.error(130_429, 2);
    let commands = texts("throttled", 40, 8);
    world.send_all("normal", &commands).await;
    let events = world.accepted(&commands).await;
    assert!(events.iter().all(|event| event.data["attempt"] == 1));
    world.settled().await;
    assert_once_in_order(&world.sends(), &commands);
    assert_eq!(world.report(NUMBER).refused[&130_429], 2);
    assert_eq!(world.reasons().await, [""; 0]);
    dispatcher.stop().await;
}

#[tokio::test]
async fn the_pair_limit_parks_one_recipient() {
    let mut setup = Setup::default();
    setup.config.max_tries = 1;
    let (world, dispatcher) = World::start(setup).await;
    world.fault(Fault { recipient: Some(ANNA.into()), ..Fault::always(FaultKind::Error { code: 131_056 }) });
    world.send("normal", &text("anna", ANNA)).await;
    let others = texts("other", 20, 20);
    world.send_all("normal", &others).await;
    world.accepted(&others).await;
    world.provider.clear_faults();
    assert_eq!(world.told("accepted", &["anna"]).await.len(), 21);
    dispatcher.stop().await;
}

#[tokio::test]
async fn a_bad_token_pauses_its_channel_and_a_new_one_resumes_it() {
    let (world, dispatcher) = World::start(Setup::default()).await;
    world.provider.set_token(NUMBER, "second").unwrap();
    let waiting = texts("waiting", 30, 10);
    world.send_all("normal", &waiting).await;
    let holds = world.holds(1).await;
    assert_eq!(holds[0].data["hold"]["code"], 190);
    // The other channel goes on.
    world.publish("acme.acme-care.normal", json_headers(), text("care", ANNA).to_string()).await;
    world.told("accepted", &["care"]).await;
    assert_eq!(world.report(CARE).accepted, 1);
    until("what was claimed to be given back", LIMIT, async || {
        let id = waiting[0]["id"].as_str().unwrap();
        world.record(id).await.filter(|record| record.state == CommandState::Queued && record.attempt == 0)
    })
    .await
    .unwrap();
    assert!(world.waiting().await >= 30);

    world.apply(&RegistryText { token: "second", ..RegistryText::default() }).await;
    let events = world.accepted(&waiting).await;
    assert!(events.iter().all(|event| event.data["attempt"] == 1));
    world.settled().await;
    let holds = world.holds(2).await;
    assert_eq!((holds.len(), holds[1].data["hold"].is_null()), (2, true));
    assert_once_in_order(&world.sends(), &waiting);
    assert_eq!(world.reasons().await, [""; 0]);
    dispatcher.stop().await;
}

#[tokio::test]
async fn a_provider_out_of_reach_spends_no_try() {
    let mut setup = Setup::default();
    setup.config.max_tries = 1;
    let (world, dispatcher) = World::start(setup).await;
    world.provider_line.cut().await.unwrap();
    let commands = texts("patient", 20, 5);
    world.send_all("normal", &commands).await;
    until("a request that could not be made", LIMIT, async || {
        let id = commands[0]["id"].as_str().unwrap();
        world.record(id).await?.reason.filter(|reason| reason.contains("could not be reached"))
    })
    .await
    .unwrap();
    world.provider_line.heal().await.unwrap();
    let events = world.accepted(&commands).await;
    assert!(events.iter().all(|event| event.data["attempt"] == 1));
    world.settled().await;
    assert_once_in_order(&world.sends(), &commands);
    dispatcher.stop().await;
}

#[tokio::test]
async fn an_expired_command_is_not_sent() {
    let (world, dispatcher) = World::start(Setup::default()).await;
    let mut expired = text("expired", BRUNO);
    expired["expires_at"] = "2020-01-01T00:00:00Z".into();
    world.send_all("normal", &[expired, text("fresh", BRUNO)]).await;
    world.told("expired", &["expired"]).await;
    world.told("accepted", &["fresh"]).await;
    world.settled().await;
    assert_eq!(world.texts(), ["fresh"]);
    assert_eq!(world.record("expired").await.unwrap().state, CommandState::Expired);
    dispatcher.stop().await;
}

#[tokio::test]
async fn a_contact_whose_switch_is_off_is_not_written_to() {
    for storage in [Storage::Sqlite, Storage::Postgres] {
        let (world, dispatcher) = World::start(Setup { storage, ..Setup::default() }).await;
        let tenant = "acme".parse().unwrap();
        let contact = |whatsapp| Contact {
            number: ANNA.into(),
            name: "Anna".into(),
            company: None,
            whatsapp,
            updated: Timestamp::now(),
        };
        world.store.put_contact(&tenant, &contact(false)).await.unwrap();
        world.send_all("normal", &[text("off", ANNA), text("other", BRUNO)]).await;
        world.told("accepted", &["other"]).await;
        let rejected = world.told("rejected", &["off"]).await;
        assert_eq!(rejected[0].data["code"], "recipient_switched_off");
        assert_eq!(world.texts(), ["other"]);

        world.store.put_contact(&tenant, &contact(true)).await.unwrap();
        world.send("normal", &text("on", ANNA)).await;
        world.told("accepted", &["on"]).await;
        world.settled().await;
        dispatcher.stop().await;
    }
}
