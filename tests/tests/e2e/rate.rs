//! A channel's rate.

use staffetta_testkit::Company;
use staffetta_tests::{Installation, ORDERS, RegistryText, Setup};

use crate::{all, assert_each_sent_once_in_order, assert_rate_held, commands};

const RATE: u32 = 50;

#[tokio::test]
async fn no_second_holds_more_than_the_rate() {
    // What is late here shall not be late because of others.
    let _alone = Company::nobody().await;
    let registry = RegistryText { rate: RATE, ..RegistryText::default() };
    let (staffetta, _up) = Installation::up(Setup { registry, ..Setup::default() }).await.unwrap();
    let streams = staffetta.streams().await.unwrap();

    let commands = commands("fast", 400, 30);
    staffetta.tenant(ORDERS, &streams).send_all(&commands).await.unwrap();
    staffetta.told(&streams, &all("command.accepted", &commands)).await.unwrap();
    staffetta.settled(&streams).await.unwrap();

    let sends = staffetta.sends(ORDERS);
    assert_rate_held(&staffetta, &sends, RATE);
    assert_each_sent_once_in_order(&sends, &commands);
}
