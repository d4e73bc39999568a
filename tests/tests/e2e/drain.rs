//! SIGTERM in the midst of work.

use futures_util::future::try_join_all;
use staffetta_simulator::Detail;
use staffetta_testkit::until;
use staffetta_tests::{Installation, LIMIT, ORDERS, RegistryText, Setup, message, webhook};

use crate::{commands, each_told_and_sent_once};

#[tokio::test]
async fn sigterm_finishes_what_was_begun_and_leaves_the_rest_in_the_queue() {
    let registry = RegistryText { rate: 50, ..RegistryText::default() };
    let (staffetta, mut up) = Installation::up(Setup { registry, ..Setup::default() }).await.unwrap();
    let streams = staffetta.streams().await.unwrap();

    // So many that they are not all sent by the time that the webhooks are posted.
    let commands = commands("drain", 600, 30);
    staffetta.tenant(ORDERS, &streams).send_at_once(&commands).await.unwrap();
    let webhooks: Vec<_> = (0..100).map(|n| format!("wamid.drain-{n}")).collect();
    let bodies: Vec<_> = webhooks.iter().map(|wamid| webhook(ORDERS, &[message(wamid)], &[])).collect();
    try_join_all(bodies.iter().map(|body| staffetta.meta.deliver(body))).await.unwrap();
    let some_sent = async || {
        let report = staffetta.provider.report(Detail::Figures);
        (report.channels[ORDERS.phone_number_id].accepted >= 20).then_some(())
    };
    until("some commands to be sent", LIMIT, some_sent).await.unwrap();
    up.stop().await.unwrap();

    assert_eq!(streams.unacknowledged("WEBHOOKS").await.unwrap(), 0);
    assert!(streams.waiting("SEND").await.unwrap() > 0, "the end came too late to show anything");
    up.start().await.unwrap();

    let events = each_told_and_sent_once(&staffetta, &streams, &commands, webhooks).await;
    assert!(!events.iter().any(|event| event.kind == "command.in_doubt") || !up.kept_its_parts());
}
