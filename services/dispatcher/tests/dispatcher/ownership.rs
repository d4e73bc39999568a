//! Stops, hand-overs and outages.

use std::time::Duration;

use jiff::Timestamp;
use staffetta_domain::CommandState;
use staffetta_simulator::{Fault, FaultKind};
use staffetta_testkit::until;

use crate::harness::{
    ANNA, LIMIT, NUMBER, RegistryText, Setup, Storage, World, assert_once_in_order, set_up_streams, text,
    texts,
};
use crate::pace::assert_rate;

fn setup(storage: Storage) -> Setup {
    Setup { storage, registry: RegistryText { rate: 50, ..RegistryText::default() }, ..Setup::default() }
}

#[tokio::test]
async fn a_stop_finishes_what_was_begun_and_leaves_the_rest() {
    for storage in [Storage::Sqlite, Storage::Postgres] {
        let world = World::prepare(setup(storage)).await;
        world.fault(Fault::always(FaultKind::Slow { delay_ms: 300 }));
        // All of them are there before the first is sent: publishing may take longer than sending.
        let commands = texts("stop", 150, 50);
        world.send_all("normal", &commands).await;
        let dispatcher = world.dispatcher().await;
        world.sent(30).await;
        let stopping = Timestamp::now();
        dispatcher.stop().await;
        let stopped = Timestamp::now();

        let accepted = world.sends().len();
        assert!(accepted < 150, "all of them");
        let mut ended = 0;
        for command in &commands {
            let record = world.record(command["id"].as_str().unwrap()).await;
            match record.map(|record| (record.state, record.attempt)) {
                Some((CommandState::Accepted, 1)) => ended += 1,
                None | Some((CommandState::Queued, 0)) => {}
                other => panic!("{command}: {other:?}"),
            }
        }
        assert_eq!(ended, accepted);
        assert!(world.waiting().await >= 150 - ended as u64);

        world.provider.clear_faults();
        let dispatcher = world.dispatcher().await;
        world.accepted(&commands).await;
        world.settled().await;
        assert_once_in_order(&world.sends(), &commands);
        assert_rate(&world, 50);
        // On a busy machine a lease may be lost before the stop, or after it: that makes doubts of its own.
        let doubts = world.told("in_doubt", &[]).await;
        assert!(!doubts.iter().any(|event| (stopping..=stopped).contains(&event.time)), "{doubts:?}");
        dispatcher.stop().await;
    }
}

#[tokio::test]
async fn a_second_dispatcher_takes_over() {
    let (world, first) = World::start(setup(Storage::Postgres)).await;
    let commands = texts("relay", 200, 20);
    world.send_all("bulk", &commands[..100]).await;
    world.sent(1).await;
    let second = world.dispatcher().await;
    world.send_all("normal", &commands[100..]).await;
    world.sent(40).await;
    first.stop().await;
    let third = world.dispatcher().await;
    world.sent(120).await;
    second.stop().await;
    world.accepted(&commands).await;
    world.settled().await;
    assert_eq!(world.sends().len(), 200);
    assert_once_in_order_by_lane(&world, &commands);
    assert_rate(&world, 50);
    assert_eq!(world.report(NUMBER).duplicates, 0);
    third.stop().await;
}

fn assert_once_in_order_by_lane(world: &World, commands: &[serde_json::Value]) {
    let sends = world.sends();
    let (bulk, normal) = commands.split_at(100);
    for lane in [bulk, normal] {
        let own = |send: &&staffetta_simulator::SendSeen| {
            lane.iter().any(|command| command["id"] == send.text.as_deref().unwrap_or_default())
        };
        assert_once_in_order(&sends.iter().filter(own).cloned().collect::<Vec<_>>(), lane);
    }
}

#[tokio::test]
async fn nats_may_restart_and_be_away() {
    let mut world = World::prepare(setup(Storage::Sqlite)).await;
    // More than can be sent until the owner gives up, and all of them there before the first is sent.
    let commands = texts("outage", 300, 30);
    world.send_all("normal", &commands).await;
    let dispatcher = world.dispatcher().await;
    world.sent(20).await;
    world.nats.stop().await.unwrap();
    // The owner gives up by itself: nothing more is sent than what was on its way.
    world.quiet().await;
    assert!(world.sends().len() < 300);
    until("what was claimed to be given back", LIMIT, async || {
        for command in &commands {
            let record = world.record(command["id"].as_str().unwrap()).await;
            match record.map(|record| (record.state, record.attempt)) {
                None | Some((CommandState::Accepted, 1) | (CommandState::Queued, 0)) => {}
                _ => return None,
            }
        }
        Some(())
    })
    .await
    .unwrap();
    world.nats.restart().await.unwrap();
    world.accepted(&commands).await;
    world.settled().await;
    assert_once_in_order(&world.sends(), &commands);
    // An owner that a busy machine holds up loses its lease with requests on their way: those are in doubt.
    let (doubts, late) = (world.told("in_doubt", &[]).await, world.beats.longest());
    assert!(doubts.is_empty() || late >= Duration::from_millis(500), "{late:?}, {doubts:?}");
    dispatcher.stop().await;
}

#[tokio::test]
async fn the_database_may_be_away() {
    let world = World::prepare(setup(Storage::Postgres)).await;
    let commands = texts("outage", 100, 20);
    world.send_all("normal", &commands).await;
    let dispatcher = world.dispatcher().await;
    world.sent(20).await;
    let line = world.database_line.as_ref().unwrap();
    line.cut().await.unwrap();
    world.quiet().await;
    assert!(world.sends().len() < 100, "without a claim nothing is sent");
    line.heal().await.unwrap();
    world.accepted(&commands).await;
    world.settled().await;
    assert_once_in_order(&world.sends(), &commands);
    dispatcher.stop().await;
}

#[tokio::test]
async fn a_database_that_refuses_everything_makes_nothing_dead() {
    let (world, dispatcher) = World::start(setup(Storage::Postgres)).await;
    world.send("normal", &text("before", ANNA)).await;
    world.told("accepted", &["before"]).await;
    world.sql("ALTER TABLE commands RENAME TO elsewhere").await;
    let commands = texts("patient", 30, 10);
    world.send_all("normal", &commands).await;
    world.send("normal", &serde_json::json!({ "id": "wrong" })).await;
    world.quiet().await;
    world.sql("ALTER TABLE elsewhere RENAME TO commands").await;
    world.accepted(&commands).await;
    world.told("rejected", &["wrong"]).await;
    world.settled().await;
    assert_eq!(world.reasons().await, ["invalid_command"]);
    dispatcher.stop().await;
}

/// As a database that is mended just when somebody looks whether it is.
#[tokio::test]
async fn a_database_that_refuses_once_makes_nothing_dead() {
    let (world, dispatcher) = World::start(setup(Storage::Postgres)).await;
    world.sql("CREATE SEQUENCE tries").await;
    world
        .sql(
            "CREATE FUNCTION refuse_once() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             IF nextval('tries') = 1 THEN RAISE undefined_table; END IF; RETURN NEW; END $$",
        )
        .await;
    world
        .sql("CREATE TRIGGER refusing BEFORE INSERT ON commands FOR EACH ROW EXECUTE FUNCTION refuse_once()")
        .await;
    world.send("normal", &text("patient", ANNA)).await;
    world.told("accepted", &["patient"]).await;
    world.settled().await;
    assert!(world.reasons().await.is_empty());
    dispatcher.stop().await;
}

#[tokio::test]
async fn commands_that_come_one_by_one_are_sent() {
    let (world, dispatcher) = World::start(Setup::default()).await;
    // One after the other, each as soon as the last one is through: every one comes to an idle lane.
    for n in 0..200 {
        let id = format!("single-{n}");
        world.send("urgent", &text(&id, &format!("39333{n:07}"))).await;
        world.sent(n + 1).await;
    }
    world.settled().await;
    dispatcher.stop().await;
}

#[tokio::test]
async fn a_command_whose_letter_cannot_be_written_stays_in_the_queue() {
    let (world, dispatcher) = World::start(Setup::default()).await;
    world.bus.jetstream().delete_stream("DEAD").await.unwrap();
    world.send("normal", &serde_json::json!({ "id": "wrong" })).await;
    world.error(131_026, 1);
    world.send("normal", &text("refused", ANNA)).await;
    world.send("normal", &text("after", ANNA)).await;
    // The refusal is handled: its recipient's next one goes. Or else the owner has lost its lease on a busy machine, and
    // doubts what nobody wrote the end of.
    until("the refusal to be handled", LIMIT, async || {
        let accepted = world.told("accepted", &[]).await;
        let doubts = world.told("in_doubt", &[]).await;
        (!accepted.is_empty() || !doubts.is_empty()).then_some(())
    })
    .await
    .unwrap();
    dispatcher.stop().await;
    assert!(world.told("rejected", &[]).await.is_empty());
    // What was accepted meanwhile may have been deleted from between them.
    let queued: Vec<_> = world.queued().await.iter().map(|command| command["id"].clone()).collect();
    assert!(queued == ["wrong", "refused", "after"] || queued == ["wrong", "refused"], "{queued:?}");

    set_up_streams(&world.bus).await;
    let record = world.record("refused").await.unwrap();
    assert!(matches!(record.state, CommandState::Sending | CommandState::InDoubt), "{record:?}");
    let dispatcher = world.dispatcher().await;
    world.told("rejected", &["wrong"]).await;
    // Nobody wrote how it ended.
    world.told("in_doubt", &["refused"]).await;
    assert_eq!(world.reasons().await, ["invalid_command"]);
    dispatcher.stop().await;
}
