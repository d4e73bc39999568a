//! Where a message stands does not depend on the order in which its statuses come.

use futures_util::future::try_join_all;
use serde_json::{Value, json};
use staffetta_simulator::{Behaviour, Fault, FaultKind};
use staffetta_tests::{Installation, ORDERS, Setup, status, webhook};

use crate::{all, commands, only, orders};

#[tokio::test]
async fn statuses_in_every_order_end_alike() {
    let behaviour = Behaviour { statuses: Vec::new(), pair: None, ..Behaviour::default() };
    let (staffetta, _up) = Installation::up(Setup { behaviour, ..Setup::default() }).await.unwrap();
    let streams = staffetta.streams().await.unwrap();
    let acme = staffetta.tenant(ORDERS, &streams);

    let mut cases: Vec<(Vec<&str>, &str)> = Vec::new();
    for (statuses, end) in [
        (&["sent", "failed", "delivered", "read"][..], "read"),
        (&["sent", "failed", "delivered"], "delivered"),
        (&["sent", "failed"], "failed"),
        (&["read"], "read"),
    ] {
        cases.extend(orders(statuses).into_iter().map(|order| (order, end)));
    }
    assert_eq!(cases.len(), 24 + 6 + 2 + 1);
    let commands = commands("order", cases.len(), cases.len());
    acme.send_all(&commands).await.unwrap();
    let events = staffetta.told(&streams, &all("command.accepted", &commands)).await.unwrap();

    let posts = commands.iter().zip(&cases).enumerate().map(|(n, (command, (order, _)))| {
        let accepted = only(&events, "command.accepted", command["id"].as_str().unwrap());
        let wamid = accepted.data["wamid"].as_str().unwrap();
        let statuses: Vec<Value> = order.iter().map(|name| status(wamid, name)).collect();
        let meta = &staffetta.meta;
        async move {
            // Together in one body, or each in its own.
            let together = if n.is_multiple_of(2) { statuses.len() } else { 1 };
            for statuses in statuses.chunks(together) {
                meta.deliver(&webhook(ORDERS, &[], statuses)).await?;
            }
            anyhow::Ok(())
        }
    });
    try_join_all(posts).await.unwrap();
    staffetta.settled(&streams).await.unwrap();

    for (command, (order, end)) in commands.iter().zip(&cases) {
        let (_, message) = acme.get(command["id"].as_str().unwrap()).await.unwrap();
        assert_eq!(message["state"], *end, "after {order:?}: {message}");
    }
    let told = streams.events().await.unwrap();
    let statuses = told.iter().filter(|event| event.kind == "message.status").count();
    assert_eq!(statuses, cases.iter().map(|(order, _)| order.len()).sum::<usize>());
}

#[tokio::test]
async fn statuses_that_overtake_the_answer_accept_the_command_once() {
    let (staffetta, _up) = Installation::up(Setup::default()).await.unwrap();
    let streams = staffetta.streams().await.unwrap();
    let acme = staffetta.tenant(ORDERS, &streams);
    staffetta.provider.add_fault(Fault::always(FaultKind::Slow { delay_ms: 700 })).unwrap();

    let commands = commands("slow", 20, 20);
    acme.send_all(&commands).await.unwrap();
    staffetta.told(&streams, &all("command.accepted", &commands)).await.unwrap();
    staffetta.settled(&streams).await.unwrap();

    let events = streams.events().await.unwrap();
    for command in &commands {
        let id = command["id"].as_str().unwrap();
        only(&events, "command.accepted", id);
        let (_, message) = acme.get(id).await.unwrap();
        assert_eq!(message["state"], json!("read"), "{message}");
    }
    assert_eq!(staffetta.sends(ORDERS).len(), commands.len());
}
