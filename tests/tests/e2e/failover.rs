//! Two dispatchers, of which one sends.

use staffetta_simulator::Detail;
use staffetta_testkit::{Company, until};
use staffetta_tests::{Installation, LIMIT, ORDERS, RegistryText, Setup, Storage};

use crate::{all, assert_each_sent_once_in_order, assert_rate_held, commands, only};

const RATE: u32 = 50;

#[tokio::test]
async fn a_second_dispatcher_takes_over_from_a_killed_one() {
    // What is late here shall not be late because of others.
    let _alone = Company::nobody().await;
    let registry = RegistryText { rate: RATE, ..RegistryText::default() };
    let settings = vec![("STAFFETTA__DISPATCHER__DOUBT_WAIT_SECONDS", "15".to_owned())];
    let setup =
        Setup { storage: Storage::Postgres, registry: registry.clone(), settings, ..Setup::default() };
    let staffetta = Installation::prepare(setup).await.unwrap();
    staffetta.apply(&registry).await.unwrap();
    let _ingress = staffetta.start("ingress").await.unwrap();
    let _recorder = staffetta.start("recorder").await.unwrap();
    let mut first = staffetta.start("dispatcher").await.unwrap();
    let streams = staffetta.streams().await.unwrap();
    let acme = staffetta.tenant(ORDERS, &streams);
    let commands = commands("relay", 250, 25);

    // Whoever sends the first one owns the queue, and the other one is late.
    acme.send(&commands[0]).await.unwrap();
    staffetta.told(&streams, &all("command.accepted", &commands[..1])).await.unwrap();
    let mut second = staffetta.start("dispatcher").await.unwrap();
    acme.send_all(&commands[1..]).await.unwrap();
    sent(&staffetta, 60).await;
    first.kill().await.unwrap();
    // The dead one comes back, and waits. Then the second goes in good order.
    first.start().await.unwrap();
    sent(&staffetta, 160).await;
    second.stop().await.unwrap();

    staffetta.told(&streams, &all("command.accepted", &commands)).await.unwrap();
    staffetta.settled(&streams).await.unwrap();
    let events = streams.events().await.unwrap();
    for (kind, id) in all("command.accepted", &commands) {
        only(&events, kind, &id);
    }
    let sends = staffetta.sends(ORDERS);
    assert_each_sent_once_in_order(&sends, &commands);
    assert_rate_held(&staffetta, &sends, RATE);
    assert_eq!(streams.dead().await.unwrap(), []);
}

/// Waits until the provider has accepted so many.
async fn sent(staffetta: &Installation, count: u64) {
    let accepted = until("the provider to have accepted some", LIMIT, async || {
        let report = staffetta.provider.report(Detail::Figures);
        (report.channels[ORDERS.phone_number_id].accepted >= count).then_some(())
    });
    accepted.await.unwrap();
}
