//! Endpoints to which nothing is posted: folders, and consumers on NATS.

use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::{AckKind, Message};
use futures_util::StreamExt;
use staffetta_domain::{Event, EventType};
use staffetta_testkit::until;

use crate::harness::{LIMIT, Storage, World, webhook};

/// What the consumer has right now, as far as there is room.
async fn fetch(consumer: &PullConsumer, room: usize) -> Vec<Message> {
    let Ok(batch) = consumer.fetch().max_messages(room).messages().await else { return Vec::new() };
    batch.filter_map(async |message| message.ok()).collect().await
}

/// The ids of what the consumer gives out, until it has given out this one: it hears a moment later of what is stored.
async fn fetched(consumer: &PullConsumer, last: &Event) -> Vec<String> {
    let mut ids = Vec::new();
    until("the last event to be given out", LIMIT, async || {
        for message in fetch(consumer, 10).await {
            ids.push(message.headers.as_ref().unwrap().get("ce-id").unwrap().to_string());
            message.ack().await.unwrap();
        }
        ids.iter().any(|id| id == last.id.as_str()).then(|| ids.clone())
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn a_nats_endpoint_has_a_consumer_of_its_own_as_long_as_its_entry_is_there() {
    let world = World::prepare(Storage::Sqlite).await;
    let entry = r#"{ id = "pull", tenant = "acme", kind = "nats", types = ["message.*"] }"#.to_owned();
    world.apply(&[entry, webhook(&world, "erp")]).await;
    let delivery = world.delivery().await;
    let stream = world.bus.jetstream().get_stream("EVENTS").await.unwrap();
    let consumer: PullConsumer =
        until("the consumer", LIMIT, async || stream.get_consumer("endpoint-pull").await.ok()).await.unwrap();
    let message = world.tell("c1").await;
    world.tell_of("acme", EventType::CommandAccepted, "c1").await;
    world.tell_of("beta", EventType::MessageReceived, "c1").await;
    let status = world.tell_of("acme", EventType::MessageStatus, "c1").await;
    assert_eq!(fetched(&consumer, &status).await, [message.id.to_string(), status.id.to_string()]);

    world.apply(&[webhook(&world, "erp")]).await;
    until("the consumer to go", LIMIT, async || {
        stream.get_consumer::<async_nats::jetstream::consumer::pull::Config>("endpoint-pull").await.err()
    })
    .await
    .unwrap();
    delivery.stop().await;
}

#[tokio::test]
async fn an_endpoint_that_another_tenant_gets_brings_nothing_of_the_one_before() {
    let world = World::prepare(Storage::Sqlite).await;
    let of = |tenant: &str| format!(r#"{{ id = "pull", tenant = "{tenant}", kind = "nats" }}"#);
    world.apply(&[of("acme")]).await;
    let delivery = world.delivery().await;
    let stream = world.bus.jetstream().get_stream("EVENTS").await.unwrap();
    let consumer = async |tenant: &str| -> PullConsumer {
        until("the consumer", LIMIT, async || {
            let consumer: PullConsumer = stream.get_consumer("endpoint-pull").await.ok()?;
            let config = &consumer.cached_info().config;
            let subjects = format!("{} {:?}", config.filter_subject, config.filter_subjects);
            subjects.contains(&format!(".{tenant}.")).then_some(consumer)
        })
        .await
        .unwrap()
    };
    // It is fetched and not acknowledged: it would come again.
    world.tell("c1").await;
    let first = consumer("acme").await;
    world.tell("c1").await;
    let kept = until("an event of the one before", LIMIT, async || fetch(&first, 1).await.pop());
    kept.await.unwrap().ack_with(AckKind::Nak(None)).await.unwrap();

    world.apply(&[of("beta")]).await;
    let second = consumer("beta").await;
    let own = world.tell_of("beta", EventType::MessageReceived, "c1").await;
    assert_eq!(fetched(&second, &own).await, [own.id.to_string()]);
    delivery.stop().await;
}

#[tokio::test]
async fn a_folder_gets_a_file_for_each_event() {
    let world = World::prepare(Storage::Sqlite).await;
    let path = world.folder.path().join("acme");
    std::fs::create_dir(&path).unwrap();
    let entry =
        format!(r#"{{ id = "files", tenant = "acme", kind = "spool", path = "{}" }}"#, path.display());
    world.apply(&[entry]).await;
    let delivery = world.delivery().await;
    world.begun("files").await;
    let events = world.tell_many(10, 2).await;
    let files = until("ten files", LIMIT, async || {
        let files = std::fs::read_dir(path.join("events")).ok()?;
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> =
            names.filter(|name| name.ends_with(".json") && !name.starts_with('.')).collect();
        names.sort();
        (names.len() == 10).then_some(names)
    });
    let files = files.await.unwrap();
    for (file, event) in files.iter().zip(&events) {
        assert!(file.contains(event.id.as_str()), "{file}");
    }
    delivery.stop().await;
}
