//! A token that the provider no longer takes.

use staffetta_simulator::Detail;
use staffetta_testkit::until;
use staffetta_tests::{CARE, Installation, LIMIT, ORDERS, RegistryText, SeenEvent, Setup, Streams};

use crate::{all, assert_each_sent_once_in_order, commands};

#[tokio::test]
async fn a_bad_token_pauses_its_channel_until_there_is_a_new_one() {
    let (staffetta, up) = Installation::up(Setup::default()).await.unwrap();
    let streams = staffetta.streams().await.unwrap();
    let (acme, globex) = (staffetta.tenant(ORDERS, &streams), staffetta.tenant(CARE, &streams));

    let renewed = RegistryText { access_token: "second-token".into(), ..RegistryText::default() };
    staffetta.provider.set_token(ORDERS.phone_number_id, &renewed.token_of(ORDERS)).unwrap();
    let waiting = commands("waiting", 30, 3);
    acme.send_all(&waiting).await.unwrap();
    told_of_holds(&streams, 1).await;

    // The other channel goes on, and the paused one does not hammer at the provider meanwhile.
    let others = commands("other", 30, 3);
    globex.send_all(&others).await.unwrap();
    staffetta.told(&streams, &all("command.accepted", &others)).await.unwrap();
    let report = staffetta.provider.report(Detail::Figures);
    let refused = report.channels[ORDERS.phone_number_id].refused[&190];
    // Whoever takes the channel over tries once more.
    assert!(
        (1..=3).contains(&refused) || refused > 3 && !up.kept_its_parts(),
        "{refused} tries: one to each user at most"
    );
    assert_eq!(staffetta.sends(ORDERS), []);
    let theirs_alone = async || (streams.waiting("SEND").await.ok()? == 30).then_some(());
    until("nothing but theirs to wait", LIMIT, theirs_alone).await.unwrap();

    staffetta.provider.set_token(CARE.phone_number_id, &renewed.token_of(CARE)).unwrap();
    let changed = staffetta.apply(&renewed).await.unwrap();
    assert!(changed.contains(ORDERS.channel) && !changed.contains("second-token"), "{changed}");
    staffetta.told(&streams, &all("command.accepted", &waiting)).await.unwrap();
    staffetta.settled(&streams).await.unwrap();
    let holds = told_of_holds(&streams, 2).await;
    assert!(holds[0].data["hold"].is_object() && holds[1].data["hold"].is_null(), "{holds:#?}");
    assert_each_sent_once_in_order(&staffetta.sends(ORDERS), &waiting);
    assert_eq!(streams.dead().await.unwrap(), []);
}

/// Waits until so many changes of holds are told.
async fn told_of_holds(streams: &Streams, count: usize) -> Vec<SeenEvent> {
    let told = until("the hold to be told", LIMIT, async || {
        let mut events = streams.events().await.ok()?;
        events.retain(|event| event.kind == "channel.changed" && event.data["change"] == "hold");
        (events.len() >= count).then_some(events)
    });
    told.await.unwrap()
}
