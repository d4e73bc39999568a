//! A channel's rate.

use staffetta_simulator::Detail;
use staffetta_tests::{Installation, ORDERS, RegistryText, Setup};

use crate::{all, assert_each_sent_once_in_order, commands};

#[tokio::test]
async fn no_second_holds_more_than_the_rate() {
    let registry = RegistryText { rate: 50, ..RegistryText::default() };
    let (staffetta, _up) = Installation::up(Setup { registry, ..Setup::default() }).await.unwrap();
    let streams = staffetta.streams().await.unwrap();

    let commands = commands("fast", 150, 30);
    staffetta.tenant(ORDERS, &streams).send_all(&commands).await.unwrap();
    staffetta.told(&streams, &all("command.accepted", &commands)).await.unwrap();
    staffetta.settled(&streams).await.unwrap();

    let report = staffetta.provider.report(Detail::Figures);
    let seen = &report.channels[ORDERS.phone_number_id];
    assert!(seen.worst_second.sends <= 50, "{:?}", seen.worst_second);
    assert!(seen.refused.is_empty(), "{:?}", seen.refused);
    assert_each_sent_once_in_order(&staffetta.sends(ORDERS), &commands);
}
