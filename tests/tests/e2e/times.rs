//! When a message may be sent, until when, and how it is taken back.

use std::time::{Duration, SystemTime};

use serde_json::Value;
use staffetta_simulator::Detail;
use staffetta_testkit::until;
use staffetta_tests::{Installation, LIMIT, ORDERS, RegistryText, Setup, Storage, text};

use crate::caller::Caller;
use crate::wire::Wire;
use crate::{all, apply_lines, channel_lines, commands, only, unix_seconds};

/// How much later than asked for a message may leave, on a machine that is busy with something else. Whoever gets it
/// only when it is handed out once more is half a minute late.
const LATE: Duration = Duration::from_secs(10);
/// How long after it was written a message may arrive, on such a machine.
const ON_ITS_WAY: Duration = Duration::from_secs(2);

#[tokio::test]
async fn a_message_for_later_leaves_when_it_is_due_whoever_sends_by_then() {
    let (mut wire, caller) = (Wire::lay().await, Caller::new(ORDERS));
    let settings = vec![wire.setting(), caller.setting()];
    let setup = Setup { storage: Storage::Postgres, settings, ..Setup::default() };
    let staffetta = Installation::prepare(setup).await.unwrap();
    wire.connect(staffetta.provider.address());
    assert_eq!(staffetta.run(&["migrate"]).await.unwrap().code, Some(0));
    staffetta.apply(&RegistryText::default()).await.unwrap();
    let _ingress = staffetta.start("ingress").await.unwrap();
    let _recorder = staffetta.start("recorder").await.unwrap();
    let _api = staffetta.start("api").await.unwrap();
    let mut dispatcher = staffetta.start("dispatcher").await.unwrap();
    let streams = staffetta.streams().await.unwrap();
    let acme = staffetta.tenant(ORDERS, &streams);

    // Time enough for what has to be asked before, and for another start.
    let soon = whole_second_in(Duration::from_secs(12));
    let after_restart = whole_second_in(Duration::from_secs(36));
    let at = |id: &str, due: SystemTime| {
        let mut command = text(id, "393480000001");
        command["send_at"] = rfc3339(due).into();
        command
    };
    let due = [
        ("soon-nats", soon),
        ("soon-http", soon),
        ("later-nats", after_restart),
        ("later-http", after_restart),
    ];
    for (id, due) in due {
        if id.ends_with("nats") {
            acme.send(&at(id, due)).await.unwrap();
        } else {
            let (status, answer) = caller.post(&at(id, due)).await;
            assert_eq!((status, &answer["state"]), (202, &"queued".into()), "{answer}");
        }
    }
    // One that is taken back in time, twice.
    assert_eq!(caller.post(&at("taken-back", soon)).await.0, 202);
    for _ in 0..2 {
        let (status, answer) = caller.take_back("taken-back").await;
        assert_eq!((status, &answer["state"]), (200, &"cancelled".into()), "{answer}");
    }
    // What has no time of its own does not wait behind them.
    acme.send(&text("at-once", "393480000001")).await.unwrap();
    staffetta.told(&streams, &[("command.accepted", "at-once".into())]).await.unwrap();
    let put_aside = async || (streams.waiting("SEND").await.ok()? == 0).then_some(());
    until("the others to be put aside", LIMIT, put_aside).await.unwrap();

    let soon_ends = ["soon-nats", "soon-http"].map(|id| ("command.accepted", id.to_owned()));
    staffetta.told(&streams, &soon_ends).await.unwrap();
    dispatcher.kill().await.unwrap();
    dispatcher.start().await.unwrap();
    let ends = due.map(|(id, _)| ("command.accepted", id.to_owned()));
    staffetta.told(&streams, &ends).await.unwrap();
    staffetta.settled(&streams).await.unwrap();

    let said = wire.by_command();
    assert_eq!((said.len(), wire.said().len()), (5, 5), "each once");
    assert!(
        due.iter().all(|(id, _)| said[*id].at >= said["at-once"].at),
        "nobody waits behind what is not due"
    );
    for (id, due) in due {
        let late = said[id].at.duration_since(due);
        assert!(late.as_ref().is_ok_and(|late| *late < LATE), "{id}: {late:?}");
    }
    let events = streams.events().await.unwrap();
    only(&events, "command.cancelled", "taken-back");
    for (kind, id) in &ends {
        only(&events, kind, id);
    }
    let (status, problem) = caller.take_back("soon-http").await;
    assert_eq!((status, &problem["type"]), (409, &"/problems/too-late".into()), "{problem}");
    assert_eq!(streams.dead().await.unwrap(), []);
    dispatcher.stop().await.unwrap();
}

#[tokio::test]
async fn what_expires_or_is_taken_back_before_its_turn_is_never_sent() {
    let (mut wire, caller) = (Wire::lay().await, Caller::new(ORDERS));
    let settings = vec![wire.setting(), caller.setting()];
    let (staffetta, up) = Installation::up(Setup { settings, ..Setup::default() }).await.unwrap();
    wire.connect(staffetta.provider.address());
    let streams = staffetta.streams().await.unwrap();
    let acme = staffetta.tenant(ORDERS, &streams);

    // Behind a token that is not taken.
    staffetta.provider.set_token(ORDERS.phone_number_id, "another token").unwrap();
    let held = commands("held", 10, 5);
    for command in &held {
        assert_eq!(caller.post(command).await.0, 202);
    }
    let stopped = async || {
        let report = staffetta.provider.report(Detail::Figures);
        report.channels[ORDERS.phone_number_id].refused.contains_key(&190).then_some(())
    };
    until("the channel to stop", LIMIT, stopped).await.unwrap();
    let (back, kept) = held.split_at(5);
    for command in back {
        let id = command["id"].as_str().unwrap();
        // Not while another owner tries one of them.
        let taken_back = until("the command to be taken back", LIMIT, async || {
            caller.until_state(id, "queued").await;
            let (status, answer) = caller.take_back(id).await;
            (status != 409).then_some((status, answer))
        });
        let (status, answer) = taken_back.await.unwrap();
        assert_eq!((status, &answer["state"]), (200, &"cancelled".into()), "{answer}");
    }
    staffetta.told(&streams, &all("command.cancelled", back)).await.unwrap();
    let right = RegistryText::default().token_of(ORDERS);
    staffetta.provider.set_token(ORDERS.phone_number_id, &right).unwrap();
    let before_the_lift = wire.said().len();
    assert_eq!(staffetta.run(&["hold", "lift", "acme-orders"]).await.unwrap().code, Some(0));
    staffetta.told(&streams, &all("command.accepted", kept)).await.unwrap();
    staffetta.settled(&streams).await.unwrap();
    let accepted: Vec<_> = staffetta.sends(ORDERS).into_iter().filter_map(|send| send.text).collect();
    assert_eq!(accepted.len(), kept.len());
    assert!(kept.iter().all(|command| accepted.contains(&id_of(command))));
    assert_eq!(wire.said().len() - before_the_lift, kept.len(), "the cancelled ones are not even tried");
    let (status, problem) = caller.take_back(&id_of(&kept[0])).await;
    assert_eq!((status, &problem["type"]), (409, &"/problems/too-late".into()), "{problem}");

    // Behind a rate that is too low for all of them.
    apply_lines(&staffetta, &channel_lines(ORDERS, 5)).await;
    up.shows("staffetta_channel_rate_limit", &[("channel", ORDERS.channel)], "5").await.unwrap();
    let expires = whole_second_in(Duration::from_secs(6));
    let mut expiring = commands("expiring", 60, 10);
    for command in &mut expiring {
        command["expires_at"] = rfc3339(expires).into();
    }
    acme.send_at_once(&expiring).await.unwrap();
    let ended = until("all of them to end", LIMIT, async || {
        let events = streams.events().await.ok()?;
        let ends = events.into_iter().filter(|event| {
            ["command.accepted", "command.expired"].contains(&event.kind.as_str())
                && event.subject.starts_with("expiring-")
        });
        let ends: Vec<_> = ends.collect();
        (ends.len() >= expiring.len()).then_some(ends)
    });
    let ended = ended.await.unwrap();
    staffetta.settled(&streams).await.unwrap();
    let said = wire.by_command();
    for command in &expiring {
        let id = id_of(command);
        let ends: Vec<_> = ended.iter().filter(|event| event.subject == id).collect();
        assert_eq!(ends.len(), 1, "{ends:#?}");
        match said.get(&id) {
            Some(sent) => {
                assert_eq!(ends[0].kind, "command.accepted");
                // It may take a moment to get there.
                let after = sent.at.duration_since(expires).unwrap_or_default();
                assert!(after < ON_ITS_WAY, "{id} came {after:?} after its end");
            }
            None => assert_eq!(ends[0].kind, "command.expired"),
        }
    }
    let sent = ended.iter().filter(|event| event.kind == "command.accepted").count();
    assert!((1..expiring.len()).contains(&sent), "{sent} were sent in time");
    assert_eq!(streams.dead().await.unwrap(), []);
}

fn id_of(command: &Value) -> String {
    command["id"].as_str().unwrap().to_owned()
}

/// The first whole second that is so far ahead.
fn whole_second_in(ahead: Duration) -> SystemTime {
    let seconds = unix_seconds(SystemTime::now() + ahead) + 1;
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.unsigned_abs())
}

/// As commands say a time, to the second.
fn rfc3339(at: SystemTime) -> String {
    let seconds = unix_seconds(at);
    let (days, time) = (seconds / 86_400, seconds % 86_400);
    // Years begin in March here, so that February is the last month and its length matters to nobody.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", time / 3_600, time / 60 % 60, time % 60)
}
