//! The main road, from one end to the other.

use staffetta_simulator::InboundMessage;
use staffetta_testkit::{NatsOptions, NatsServer, until};
use staffetta_tests::{
    CARE, Installation, LIMIT, Number, ORDERS, RegistryText, SeenEvent, Setup, Storage, Streams, Tenant, text,
};

use crate::only;

const USER: &str = "393481213456";

#[tokio::test]
async fn a_message_comes_in_three_go_out_and_the_end_leaves_nothing_unsettled() {
    let (staffetta, mut up) = Installation::up(Setup { nats: None, ..Setup::default() }).await.unwrap();
    let streams = staffetta.streams().await.unwrap();

    let entries = streams.waiting("KV_REGISTRY").await.unwrap();
    let again = staffetta.apply(&RegistryText::default()).await.unwrap();
    assert!(!again.contains(ORDERS.channel), "{again}");
    assert_eq!(streams.waiting("KV_REGISTRY").await.unwrap(), entries);

    round_trips(&staffetta, &streams).await;

    staffetta.settled(&streams).await.unwrap();
    up.stop().await.unwrap();
    drop(streams);
    let left = NatsServer::start_with(NatsOptions {
        store_dir: Some(store_below(&staffetta.data_dir()).unwrap()),
        ..NatsOptions::default()
    });
    let left = left.await.unwrap();
    let streams = Streams::connect(left.url()).await.unwrap();
    assert_eq!(streams.waiting("SEND").await.unwrap(), 0);
    assert_eq!(streams.waiting("WEBHOOKS").await.unwrap(), 0);
    assert_eq!(streams.dead().await.unwrap(), []);
}

#[tokio::test]
async fn the_same_holds_with_a_process_for_each_service() {
    let staffetta =
        Installation::prepare(Setup { storage: Storage::Postgres, ..Setup::default() }).await.unwrap();
    assert_eq!(staffetta.run(&["migrate"]).await.unwrap().code, Some(0));
    staffetta.apply(&RegistryText::default()).await.unwrap();
    let mut services = Vec::new();
    for role in ["ingress", "recorder", "dispatcher", "api"] {
        services.push(staffetta.start(role).await.unwrap());
    }
    let streams = staffetta.streams().await.unwrap();
    round_trips(&staffetta, &streams).await;
    staffetta.settled(&streams).await.unwrap();
    for service in &mut services {
        service.stop().await.unwrap();
    }
    assert_eq!(streams.waiting("SEND").await.unwrap(), 0);
    assert_eq!(streams.waiting("WEBHOOKS").await.unwrap(), 0);
    assert_eq!(streams.dead().await.unwrap(), []);
}

/// One message of a user to its event; a command in JSON, one in Protocol Buffers and one over HTTP to `read`.
async fn round_trips(staffetta: &Installation, streams: &Streams) {
    let written = staffetta.provider.inbound(InboundMessage {
        phone_number_id: ORDERS.phone_number_id.into(),
        from: USER.into(),
        name: Some("Anna".into()),
        text: Some("Buongiorno".into()),
        message: None,
    });
    let wamid = written.unwrap();
    let events = staffetta.told(streams, &[("message.received", wamid.clone())]).await.unwrap();
    let received = only(&events, "message.received", &wamid);
    assert_eq!(received.source, source(ORDERS));
    assert_eq!(received.data["text"]["body"], "Buongiorno");
    assert_eq!(received.data["from"], USER);
    assert_eq!(received.data["name"], "Anna");

    let (acme, globex) = (staffetta.tenant(ORDERS, streams), staffetta.tenant(CARE, streams));
    acme.send(&text("over-nats", USER)).await.unwrap();
    globex.send_protobuf(&text("in-protobuf", USER)).await.unwrap();
    let (status, answer) = acme.post(&text("over-http", USER)).await.unwrap();
    assert_eq!((status.as_u16(), &answer["id"]), (202, &"over-http".into()), "{answer}");

    for (tenant, number, id) in
        [(&acme, ORDERS, "over-nats"), (&globex, CARE, "in-protobuf"), (&acme, ORDERS, "over-http")]
    {
        is_read(staffetta, streams, tenant, number, id).await;
    }
    // Another tenant's message does not exist.
    assert_eq!(globex.get("over-nats").await.unwrap().0.as_u16(), 404);
    // The same id once more is the same message.
    assert_eq!(acme.post(&text("over-http", USER)).await.unwrap().0.as_u16(), 200);
    acme.send(&text("over-nats", USER)).await.unwrap();
    staffetta.settled(streams).await.unwrap();
    assert_eq!(staffetta.sends(ORDERS).len(), 2);
    assert_eq!(staffetta.sends(CARE).len(), 1);
}

async fn is_read(staffetta: &Installation, streams: &Streams, tenant: &Tenant, number: Number, id: &str) {
    let events = staffetta.told(streams, &[("command.accepted", id.to_owned())]).await.unwrap();
    let accepted = only(&events, "command.accepted", id);
    assert_eq!(accepted.source, source(number));
    let wamid = accepted.data["wamid"].as_str().unwrap().to_owned();
    until("the status read", LIMIT, async || (tenant.state(id).await? == "read").then_some(()))
        .await
        .unwrap();
    let statuses = until("three statuses", LIMIT, async || {
        let statuses = statuses_of(&streams.events().await.ok()?, &wamid);
        (statuses.len() >= 3).then_some(statuses)
    });
    let mut statuses = statuses.await.unwrap();
    statuses.sort();
    assert_eq!(statuses, ["delivered", "read", "sent"]);
    let (_, message) = tenant.get(id).await.unwrap();
    assert_eq!(message["wamid"], wamid, "{message}");
}

fn statuses_of(events: &[SeenEvent], wamid: &str) -> Vec<String> {
    let of_it = events.iter().filter(|event| event.is("message.status", wamid));
    of_it.filter_map(|event| event.data["status"].as_str().map(str::to_owned)).collect()
}

fn source(number: Number) -> String {
    format!("/tenants/{}/channels/{}", number.tenant, number.channel)
}

/// The folder below which a NATS server kept its streams.
fn store_below(folder: &std::path::Path) -> Option<std::path::PathBuf> {
    if folder.join("jetstream").is_dir() {
        return Some(folder.to_owned());
    }
    let entries = std::fs::read_dir(folder).ok()?;
    entries.flatten().filter(|entry| entry.path().is_dir()).find_map(|entry| store_below(&entry.path()))
}
