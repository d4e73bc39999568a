//! What is replayed too early dies again as a letter of its own: none is lost, and none is there twice.

use bytes::Bytes;
use serde_json::json;
use staffetta_bus::{DeadStream, Letter, LetterFilter, RegistryFile, RegistryStore, Unnamed};
use staffetta_outbox::{ReplayError, Replays};
use staffetta_proto::v1::{BodyEncoding, Provider, RawWebhook, WebhookEnvelope};
use staffetta_testkit::until;

use crate::dead::packed;
use crate::harness::{Kind, LIMIT, World, body, text};

/// What nobody owned before.
const NEW_CHANNEL: &str = r#"
channel = [{ id = "acme-new", tenant = "acme", provider = "cloud_api", waba_id = "NEW", phone_number_id = "999" }]
"#;

/// The letters on DEAD, by payload: webhooks that were handed out in vain come again behind newer ones.
pub(crate) async fn letters(world: &World) -> Vec<Letter> {
    let (dead, all) = (DeadStream::new(world.bus.clone()), LetterFilter::default());
    let page = until("DEAD to answer", LIMIT, async || dead.page(&all, None, 100).await.ok()).await;
    let mut letters = page.unwrap().letters;
    letters.sort_by(|one, other| one.payload.cmp(&other.payload));
    letters
}

/// Replays all letters and waits until they are recorded, or dead again.
async fn replay(world: &World) {
    let replays = Replays::new(world.bus.clone(), world.store.clone());
    let mut left = letters(world).await;
    until("the letters to be replayed", LIMIT, async || {
        let outcomes = replays.replay(&left).await;
        let stay = std::mem::take(&mut left).into_iter().zip(outcomes).filter_map(|(letter, outcome)| {
            match outcome {
                Ok(_) => None,
                // Its payload is back, but nobody said that the letter is gone.
                Err(ReplayError::Stays(_)) => Some(letter),
                Err(ReplayError::Publish(failure)) if failure.is_passing() => Some(letter),
                Err(failure) => panic!("{failure:?}"),
            }
        });
        left = stay.collect();
        left.is_empty().then_some(())
    })
    .await
    .unwrap();
    world.settled().await;
}

/// Gives the channel to acme, and replays until nothing is dead.
pub(crate) async fn replay_for_new_channel(world: &World) {
    let registry = RegistryStore::open(&world.bus, None).await.unwrap();
    let file = RegistryFile::parse(NEW_CHANNEL).unwrap();
    registry.apply(registry.plan(vec![file], Unnamed::Keep).await.unwrap()).await.unwrap();
    // The recorder may see the new channel a moment later than the webhooks.
    until("the letters to be told", LIMIT, async || {
        replay(world).await;
        letters(world).await.is_empty().then_some(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_replay_that_comes_too_early_loses_nothing() {
    let mut world = World::new(Kind::Sqlite).await;
    world.start_recorder().await;
    world.publish(&[body("999", &json!({"messages": [text("39", "wamid.A"), text("44", "wamid.B")]}))]).await;
    world.settled().await;
    let mut before = letters(&world).await;
    assert_eq!(before.len(), 2);

    // All of it well within the time in which DEAD knows an id again.
    for _ in 0..3 {
        replay(&world).await;
        let after = letters(&world).await;
        assert_eq!(after.len(), 2);
        for (old, new) in before.iter().zip(&after) {
            assert!(new.id > old.id);
            assert_eq!((&new.reason, &new.payload), (&old.reason, &old.payload));
        }
        before = after;
    }

    replay_for_new_channel(&world).await;
    let mut told: Vec<String> = world.events().await.into_iter().map(|event| event.subject).collect();
    told.sort();
    assert_eq!(told, ["wamid.A", "wamid.B"]);
    world.stop().await;
}

#[tokio::test]
async fn what_was_never_a_webhook_dies_again_too() {
    let mut world = World::new(Kind::Sqlite).await;
    world.start_recorder().await;
    world.publish_bytes(Bytes::from_static(b"\xff\xff\xff")).await;
    world.publish_raw(&[Bytes::from_static(b"no JSON at all")]).await;
    world.settled().await;
    for _ in 0..3 {
        replay(&world).await;
        let letters = letters(&world).await;
        let payloads: Vec<&[u8]> = letters.iter().map(|letter| &*letter.payload).collect();
        assert_eq!(payloads, [&b"no JSON at all"[..], b"\xff\xff\xff"]);
    }
    world.stop().await;
}

#[tokio::test]
async fn a_leaf_that_is_refused_again_is_still_there() {
    let mut world = World::new(Kind::Postgres).await;
    world.sql("ALTER TABLE events ADD CONSTRAINT no_a CHECK (subject <> 'wamid.A')").await;
    world.publish(&[body("100", &json!({"messages": [text("39", "wamid.A")]}))]).await;
    world.start_recorder().await;
    world.settled().await;
    for _ in 0..2 {
        replay(&world).await;
        let letters = letters(&world).await;
        assert_eq!((letters.len(), letters[0].reason.as_str()), (1, "refused"));
    }
    world.sql("ALTER TABLE events DROP CONSTRAINT no_a").await;
    replay(&world).await;
    assert_eq!((letters(&world).await.len(), world.events().await.len()), (0, 1));
    world.stop().await;
}

/// On threads of their own, or the recorder's work on so long a text would keep the answers of NATS from the rest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fits_into_a_message_only_packed_is_not_left_out_of_its_letter() {
    let mut world = World::new(Kind::Sqlite).await;
    world.start_recorder().await;
    let mut message = text("39", "wamid.A");
    message["text"]["body"] = "ciao ".repeat(400_000).into();
    let webhook = RawWebhook {
        id: "w".into(),
        provider: Provider::Meta.into(),
        encoding: BodyEncoding::Gzip.into(),
        body: packed(body("999", &json!({"messages": [message]})).to_string().as_bytes()).into(),
        ..RawWebhook::default()
    };
    world.publish_envelope(&WebhookEnvelope { webhooks: vec![webhook] }).await;
    world.settled().await;
    let before = letters(&world).await.remove(0);
    assert!(!before.payload.is_empty());
    for _ in 0..2 {
        replay(&world).await;
        let after = letters(&world).await;
        assert_eq!((after.len(), after[0].reason.as_str()), (1, "unrouted"));
        assert!(after[0].id > before.id);
        assert_eq!(after[0].payload, before.payload);
    }
    world.stop().await;
}
