//! Connections that break between a request and its answer.

use staffetta_simulator::{Fault, FaultKind};
use staffetta_tests::{Installation, ORDERS, Setup};

use crate::{all, assert_each_sent_once_in_order, commands, only};

#[tokio::test]
async fn a_cut_connection_neither_loses_a_command_nor_sends_it_twice() {
    // For those that the provider never got: whoever it got is known by its status at once.
    let settings = vec![("STAFFETTA__DISPATCHER__DOUBT_WAIT_SECONDS", "5".to_owned())];
    let (staffetta, _up) = Installation::up(Setup { settings, ..Setup::default() }).await.unwrap();
    let streams = staffetta.streams().await.unwrap();
    for kind in [FaultKind::AcceptThenCut, FaultKind::CutBeforeAccept] {
        staffetta.provider.add_fault(Fault::times(kind, 6)).unwrap();
    }

    let commands = commands("cut", 60, 20);
    staffetta.tenant(ORDERS, &streams).send_all(&commands).await.unwrap();
    staffetta.told(&streams, &all("command.accepted", &commands)).await.unwrap();
    staffetta.settled(&streams).await.unwrap();

    let events = streams.events().await.unwrap();
    for (kind, id) in all("command.accepted", &commands) {
        only(&events, kind, &id);
    }
    assert_eq!(events.iter().filter(|event| event.kind == "command.in_doubt").count(), 12);
    assert_each_sent_once_in_order(&staffetta.sends(ORDERS), &commands);
    assert_eq!(streams.dead().await.unwrap(), []);
}
