//! Connections that break between a request and its answer.

use staffetta_simulator::{Detail, Fault, FaultKind};
use staffetta_tests::{Installation, ORDERS, Setup};

use crate::{all, assert_each_sent_once_in_order, commands, only};

/// Connections that are cut, in each of two ways.
const CUTS: u64 = 6;

#[tokio::test]
async fn a_cut_connection_neither_loses_a_command_nor_sends_it_twice() {
    // For those that the provider never got: whoever it got is known by its status at once.
    let settings = vec![("STAFFETTA__DISPATCHER__DOUBT_WAIT_SECONDS", "15".to_owned())];
    let (staffetta, up) = Installation::up(Setup { settings, ..Setup::default() }).await.unwrap();
    let streams = staffetta.streams().await.unwrap();
    for kind in [FaultKind::AcceptThenCut, FaultKind::CutBeforeAccept] {
        staffetta.provider.add_fault(Fault::times(kind, CUTS)).unwrap();
    }

    let commands = commands("cut", 60, 20);
    staffetta.tenant(ORDERS, &streams).send_all(&commands).await.unwrap();
    staffetta.told(&streams, &all("command.accepted", &commands)).await.unwrap();
    staffetta.settled(&streams).await.unwrap();

    let events = streams.events().await.unwrap();
    for (kind, id) in all("command.accepted", &commands) {
        only(&events, kind, &id);
    }
    let cuts = &staffetta.provider.report(Detail::Figures).channels[ORDERS.phone_number_id].faults;
    assert_eq!((cuts["accept_then_cut"], cuts["cut_before_accept"]), (CUTS, CUTS));
    let doubts = events.iter().filter(|event| event.kind == "command.in_doubt").count();
    // One whose status is recorded before its cut is noticed never was in doubt; what was under way when a lease ended
    // is as well.
    let (least, most) = (usize::try_from(CUTS).unwrap(), usize::try_from(2 * CUTS).unwrap());
    assert!(
        (least..=most).contains(&doubts) || doubts > most && !up.kept_its_parts(),
        "{doubts} were in doubt"
    );
    assert_each_sent_once_in_order(&staffetta.sends(ORDERS), &commands);
    assert_eq!(streams.dead().await.unwrap(), []);
}
