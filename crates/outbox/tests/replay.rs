//! Letters on their way back, on a real NATS with a real database.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::slice;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use staffetta_bus::{
    Bus, DeadLetter, DeadStream, Encoding, Letter, LetterFilter, NotReplayable, Origin, Retention, SendQueue,
    SendSubject, dead_letter_message, dead_subject,
};
use staffetta_domain::{
    ChannelId, CommandId, CommandState, Event, EventId, EventType, Lane, Object, TenantId,
};
use staffetta_outbox::{DeadLetters, ReplayError, Replayed, Replays};
use staffetta_proto::{Message as _, v1};
use staffetta_store::{Claim, Outcome, Settlement, Store, StoreOptions};
use staffetta_testkit::{NatsServer, until};
use tokio::time::Instant;

const LIMIT: Duration = Duration::from_secs(60);
const LANE: &str = "staffetta.v1.send.acme.acme-orders.normal";

struct World {
    _nats: NatsServer,
    bus: Bus,
    dead: DeadStream,
    store: Store,
    replays: Replays,
}

impl World {
    async fn new() -> Self {
        let nats = NatsServer::start().await.unwrap();
        let bus = Bus::connect(nats.url(), "test").await.unwrap();
        let retention = Retention { replicas: 1, webhooks_max_bytes: 1 << 20, lane_max_commands: 2 };
        bus.set_up_streams(&retention).await.unwrap();
        let store = Store::connect("sqlite::memory:", &StoreOptions::default()).await.unwrap();
        store.migrate().await.unwrap();
        let replays = Replays::new(bus.clone(), store.clone());
        Self { _nats: nats, dead: DeadStream::new(bus.clone()), store, replays, bus }
    }

    /// Writes letters, and gives them back as they stand on DEAD.
    async fn letters(&self, letters: impl IntoIterator<Item = DeadLetter>) -> Vec<Letter> {
        for letter in letters {
            DeadLetters::new(self.bus.clone()).write(&letter).await.unwrap();
        }
        let all = LetterFilter::default();
        let page = async || self.dead.page(&all, None, 100).await.ok();
        until("DEAD to answer", LIMIT, page).await.unwrap().letters
    }

    /// Replays letters. One of which nobody said in time that it is gone is replayed again, where its payload is known by
    /// an id of its own.
    async fn replay(&self, letters: &[Letter]) -> Vec<Result<Replayed, ReplayError>> {
        let mut outcomes = self.replays.replay(letters).await;
        for (letter, outcome) in letters.iter().zip(&mut outcomes) {
            let stays = matches!(outcome, Err(ReplayError::Stays(_)));
            if stays && letter.way_back().is_ok_and(|way| !way.shared_id) {
                let again = async || match self.replays.replay(slice::from_ref(letter)).await.remove(0) {
                    Err(ReplayError::Stays(_)) => None,
                    done => Some(done),
                };
                *outcome = until("the letter to go", LIMIT, again).await.unwrap();
            }
        }
        outcomes
    }

    async fn count(&self, stream: &str) -> u64 {
        self.bus.jetstream().get_stream(stream).await.unwrap().cached_info().state.messages
    }

    /// What stands on WEBHOOKS, in order.
    async fn webhooks(&self) -> Vec<v1::RawWebhook> {
        let stream = self.bus.jetstream().get_stream("WEBHOOKS").await.unwrap();
        let mut webhooks = Vec::new();
        for sequence in 1..=stream.cached_info().state.last_sequence {
            let payload = stream.get_raw_message(sequence).await.unwrap().payload;
            webhooks.extend(v1::WebhookEnvelope::decode(payload).unwrap().webhooks);
        }
        webhooks
    }
}

fn unrouted(n: usize) -> DeadLetter {
    DeadLetter {
        id: EventId::of(&["unrouted", &n.to_string()]),
        service: "recorder",
        tenant: None,
        channel: None,
        reason: "unrouted",
        detail: "nobody's".into(),
        subject: "staffetta.v1.webhook.0".into(),
        encoding: Encoding::Json,
        payload: format!("{{\"n\":{n}}}").into(),
        time: Timestamp::now(),
        origin: Origin::Webhook {
            provider: v1::Provider::Meta,
            source: "meta-main".into(),
            encoding: v1::BodyEncoding::Unspecified,
        },
    }
}

fn command(id: &str, payload: &str) -> DeadLetter {
    DeadLetter {
        id: EventId::of(&["command", id]),
        service: "dispatcher",
        tenant: "acme".parse().ok(),
        channel: "acme-orders".parse().ok(),
        reason: "invalid_command",
        detail: "to: is missing".into(),
        subject: LANE.into(),
        payload: payload.to_owned().into(),
        origin: Origin::Command(id.parse::<CommandId>().unwrap()),
        ..unrouted(0)
    }
}

#[tokio::test]
async fn webhooks_go_back_in_their_order_and_leave_dead() {
    let world = World::new().await;
    let letters = world.letters((0..40).map(unrouted)).await;
    let outcomes = world.replay(&letters).await;
    assert!(outcomes.iter().all(|outcome| outcome.as_ref().unwrap().subject == "staffetta.v1.webhook.0"));
    assert_eq!(world.count("DEAD").await, 0);
    let webhooks = world.webhooks().await;
    let bodies: Vec<&[u8]> = webhooks.iter().map(|webhook| &*webhook.body).collect();
    let expected: Vec<String> = (0..40).map(|n| format!("{{\"n\":{n}}}")).collect();
    assert_eq!(bodies, expected.iter().map(String::as_bytes).collect::<Vec<_>>());
    assert_eq!((webhooks[1].source.as_str(), webhooks[1].replay_of.as_str()), ("meta-main", "d2"));
}

#[tokio::test]
async fn a_letter_that_went_back_before_a_crash_goes_back_once() {
    let world = World::new().await;
    let letters = world.letters([unrouted(1)]).await;
    // As a replay that died before it took the letter away.
    let way = letters[0].way_back().unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    world.bus.publish(way.subject, &way.message_id, way.headers, way.payload, deadline).await.unwrap();

    assert!(world.replay(&letters).await[0].is_ok());
    assert_eq!((world.count("WEBHOOKS").await, world.count("DEAD").await), (1, 0));
    // Somebody else has just replayed the same page.
    assert!(world.replay(&letters).await[0].is_ok());
    assert_eq!((world.count("WEBHOOKS").await, world.count("DEAD").await), (1, 0));
}

#[tokio::test]
async fn commands_go_back_to_their_lane_under_their_own_id() {
    let world = World::new().await;
    let letters =
        world.letters([command("inv-1", r#"{"id":"inv-1"}"#), command("inv-2", r#"{"to":"39"}"#)]).await;
    for (outcome, id) in world.replay(&letters).await.into_iter().zip(["inv-1", "inv-2"]) {
        let replayed = outcome.unwrap();
        assert_eq!((replayed.subject.as_str(), replayed.command.unwrap().as_str()), (LANE, id));
    }
    let lane = SendSubject::parse(LANE).unwrap();
    let queued = SendQueue::new(world.bus.clone()).read(&lane, 1, 10, 0).await.unwrap().messages;
    assert_eq!(queued[0].payload, r#"{"id":"inv-1"}"#);
    assert_eq!(queued[1].message_id(), Some("inv-2"));
    assert!(queued.iter().all(|message| Encoding::of(Some(&message.headers)) == Encoding::Json));
    assert_eq!(world.count("DEAD").await, 0);
}

#[tokio::test]
async fn what_cannot_go_back_stays_and_the_others_go() {
    let world = World::new().await;
    let left_out = DeadLetter { payload: Bytes::new(), ..unrouted(1) };
    let outbox = DeadLetter { service: "outbox", reason: "too_large", ..unrouted(2) };
    let full = (0..3).map(|n| {
        let id = format!("inv-{n}");
        command(&id, &format!("{{\"id\":\"{id}\"}}"))
    });
    let letters = world.letters([left_out, outbox].into_iter().chain(full).chain([unrouted(3)])).await;
    let outcomes = world.replay(&letters).await;
    let not = |index: usize| match &outcomes[index] {
        Err(ReplayError::NotReplayable(why)) => *why,
        other => panic!("{other:?}"),
    };
    assert_eq!((not(0), not(1)), (NotReplayable::NoPayload, NotReplayable::NoWayBack));
    // The lane holds two commands.
    assert_eq!(outcomes[2..5].iter().filter(|outcome| outcome.is_ok()).count(), 2);
    assert!(outcomes[5].is_ok());
    assert_eq!((world.count("DEAD").await, world.count("SEND").await), (3, 2));
}

#[tokio::test]
async fn a_tenants_letter_leads_to_no_other_tenants_lane() {
    let world = World::new().await;
    let forged = DeadLetter { tenant: "other".parse().ok(), ..command("inv-1", r#"{"id":"inv-1"}"#) };
    let subject = dead_subject("dispatcher", forged.tenant.as_ref(), None);
    let (headers, payload) = dead_letter_message(&forged);
    let deadline = Instant::now() + Duration::from_secs(10);
    world.bus.publish(subject, "forged", headers, payload, deadline).await.unwrap();
    let letters = world.letters([]).await;
    let outcome = world.replay(&letters).await.remove(0);
    assert!(matches!(outcome, Err(ReplayError::NotReplayable(NotReplayable::ForeignSubject))), "{outcome:?}");
    assert_eq!((world.count("SEND").await, world.count("DEAD").await), (0, 1));
}

#[tokio::test]
async fn a_command_that_has_not_ended_yet_is_not_replayed() {
    let world = World::new().await;
    let letters = world.letters([command("inv-1", r#"{"id":"inv-1"}"#)]).await;
    let (tenant, channel, id) =
        ("acme".parse().unwrap(), "acme-orders".parse().unwrap(), "inv-1".parse().unwrap());
    let event = |kind: EventType| Event {
        id: EventId::of(&[kind.as_str()]),
        tenant: "acme".parse().unwrap(),
        channel: "acme-orders".parse().unwrap(),
        kind,
        time: Timestamp::now(),
        subject: "inv-1".into(),
        data: Object::new(),
        trace: None,
    };
    let claim = Claim {
        tenant: TenantId::clone(&tenant),
        channel: ChannelId::clone(&channel),
        id: CommandId::clone(&id),
        lane: Lane::Normal,
        user: "393481213456".into(),
        kind: "text".into(),
        content: "{}".into(),
        callback_data: None,
        epoch: 1,
        sequence: 1,
        at: Timestamp::now(),
        in_doubt: event(EventType::CommandInDoubt),
        trace: None,
    };
    world.store.claim(&[claim]).await.unwrap();
    // The letter is there, the outcome is not written yet.
    let outcome = world.replay(&letters).await.remove(0);
    assert!(matches!(outcome, Err(ReplayError::StillOpen)), "{outcome:?}");
    assert_eq!((world.count("SEND").await, world.count("DEAD").await), (0, 1));

    let outcome = Outcome {
        tenant: tenant.clone(),
        channel,
        id: id.clone(),
        epoch: 1,
        lane: Lane::Normal,
        user: None,
        called: None,
        at: Timestamp::now(),
        settlement: Settlement::Failed("refused".into()),
        event: Some(event(EventType::CommandFailed)),
        reach: None,
    };
    world.store.settle(&[outcome]).await.unwrap();
    assert!(world.replay(&letters).await[0].is_ok());
    assert_eq!((world.count("SEND").await, world.count("DEAD").await), (1, 0));
    let command = world.store.command(&tenant, &id).await.unwrap().unwrap();
    assert_eq!((command.state, command.attempt), (CommandState::Queued, 0));
}
