//! A lane that is full takes nothing more, says so, and loses nothing.

use serde_json::json;
use staffetta_tests::{Installation, ORDERS, RegistryText, Setup, Storage, text};

use crate::caller::Caller;
use crate::{all, assert_each_sent_once_in_order, commands, only};

const FULL: usize = 40;

#[tokio::test]
async fn a_full_lane_refuses_new_commands_and_keeps_what_it_took() {
    let caller = Caller::new(ORDERS);
    let settings = vec![caller.setting(), ("STAFFETTA__NATS__LANE_MAX_COMMANDS", FULL.to_string())];
    let setup = Setup { storage: Storage::Postgres, settings, ..Setup::default() };
    let staffetta = Installation::prepare(setup).await.unwrap();
    assert_eq!(staffetta.run(&["migrate"]).await.unwrap().code, Some(0));
    staffetta.apply(&RegistryText::default()).await.unwrap();
    let _ingress = staffetta.start("ingress").await.unwrap();
    let _recorder = staffetta.start("recorder").await.unwrap();
    let _api = staffetta.start("api").await.unwrap();
    let streams = staffetta.streams().await.unwrap();
    let acme = staffetta.tenant(ORDERS, &streams);

    // Nobody sends yet.
    let taken = commands("taken", FULL, 10);
    acme.send_all(&taken[..FULL / 2]).await.unwrap();
    for command in &taken[FULL / 2..] {
        assert_eq!(caller.post(command).await.0, 202);
    }
    let refused = acme.send(&text("refused-nats", "393481200000")).await.unwrap_err();
    assert!(format!("{refused:#}").contains("maximum messages per subject exceeded"), "{refused:#}");
    let (status, problem) = caller.post(&text("refused-http", "393481200000")).await;
    assert_eq!((status, &problem["type"]), (429, &json!("/problems/queue-full")), "{problem}");
    // Other lanes are not affected.
    let mut urgent = text("urgent", "393481299999");
    urgent["lane"] = "urgent".into();
    assert_eq!(caller.post(&urgent).await.0, 202);

    let mut dispatcher = staffetta.start("dispatcher").await.unwrap();
    let mut sent = vec![urgent];
    sent.extend(taken);
    staffetta.told(&streams, &all("command.accepted", &sent)).await.unwrap();
    staffetta.settled(&streams).await.unwrap();
    // What was refused may be tried again.
    let again = text("refused-http", "393481200000");
    assert_eq!(caller.post(&again).await.0, 202);
    sent.push(again);
    let events = staffetta.told(&streams, &all("command.accepted", &sent)).await.unwrap();
    for (kind, id) in all("command.accepted", &sent) {
        only(&events, kind, &id);
    }
    assert_each_sent_once_in_order(&staffetta.sends(ORDERS), &sent);
    assert_eq!(streams.dead().await.unwrap(), []);
    dispatcher.stop().await.unwrap();
}
