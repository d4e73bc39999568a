//! DEAD on a real NATS: pages, filters, single letters.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use staffetta_bus::{
    Bus, DeadLetter, DeadStream, Encoding, LetterFilter, LetterPage, Origin, Retention, dead_letter_message,
    dead_subject,
};
use staffetta_domain::EventId;
use staffetta_testkit::{NatsOptions, NatsServer};
use tokio::time::Instant;

struct World {
    _nats: NatsServer,
    bus: Bus,
    dead: DeadStream,
    written: AtomicU64,
}

impl World {
    async fn new(options: NatsOptions) -> Self {
        let nats = NatsServer::start_with(options).await.unwrap();
        let bus = Bus::connect(nats.url(), "test").await.unwrap();
        let retention = Retention { replicas: 1, webhooks_max_bytes: 1 << 20, lane_max_commands: 10 };
        bus.set_up_streams(&retention).await.unwrap();
        Self { _nats: nats, dead: DeadStream::new(bus.clone()), bus, written: AtomicU64::new(0) }
    }

    async fn write(&self, tenant: Option<&str>, reason: &'static str, payload: Bytes) {
        let letter = DeadLetter {
            id: EventId::of(&["x"]),
            service: if tenant.is_some() { "dispatcher" } else { "recorder" },
            tenant: tenant.map(|tenant| tenant.parse().unwrap()),
            channel: tenant.map(|tenant| format!("{tenant}-orders").parse().unwrap()),
            reason,
            detail: "a detail".into(),
            subject: "staffetta.v1.webhook.0".into(),
            encoding: Encoding::Json,
            payload,
            time: Timestamp::now(),
            origin: Origin::Other,
        };
        let subject = dead_subject(letter.service, letter.tenant.as_ref(), letter.channel.as_ref());
        let (headers, payload) = dead_letter_message(&letter);
        let deadline = Instant::now() + Duration::from_secs(60);
        // Whether it was there already says nothing: an answer that is late is asked for again.
        let id = self.written.fetch_add(1, Ordering::Relaxed).to_string();
        self.bus.publish(subject, &id, headers, payload, deadline).await.unwrap();
    }

    /// `unrouted` and `malformed` of nobody, then `refused` of acme and of other; as often as that.
    async fn fill(&self, times: usize) {
        for _ in 0..times {
            self.write(None, "unrouted", Bytes::from_static(b"{}")).await;
            self.write(None, "malformed", Bytes::from_static(b"{")).await;
            self.write(Some("acme"), "refused", Bytes::from_static(b"{}")).await;
            self.write(Some("other"), "refused", Bytes::from_static(b"{}")).await;
        }
    }

    /// All pages of this size, and what they hold.
    async fn all(&self, filter: &LetterFilter, size: usize) -> (usize, Vec<String>) {
        let (mut pages, mut ids, mut next) = (0, Vec::new(), None);
        loop {
            let page = self.dead.page(filter, next, size).await.unwrap();
            assert!(page.letters.len() <= size);
            ids.extend(page.letters.iter().map(|letter| letter.id.to_string()));
            pages += 1;
            next = page.next;
            if next.is_none() {
                return (pages, ids);
            }
        }
    }
}

fn ids(page: &LetterPage) -> Vec<String> {
    page.letters.iter().map(|letter| letter.id.to_string()).collect()
}

#[tokio::test]
async fn pages_hold_each_letter_once_and_end() {
    let world = World::new(NatsOptions::default()).await;
    let nothing = world.dead.page(&LetterFilter::default(), None, 10).await.unwrap();
    assert_eq!((nothing.letters.len(), nothing.next, world.dead.last().await.unwrap()), (0, None, None));
    world.fill(3).await;

    let everything: Vec<String> = (1..=12).map(|n| format!("d{n}")).collect();
    for size in [1, 5, 6, 12, 100] {
        assert_eq!(world.all(&LetterFilter::default(), size).await.1, everything);
    }
    let first = world.dead.page(&LetterFilter::default(), None, 5).await.unwrap();
    assert_eq!((first.looked_at, first.left, first.next), (5, 7, "d6".parse().ok()));

    world.dead.delete("d6".parse().unwrap()).await.unwrap();
    let second = world.dead.page(&LetterFilter::default(), first.next, 2).await.unwrap();
    assert_eq!(ids(&second), ["d7", "d8"]);
    assert_eq!(world.dead.last().await.unwrap(), "d12".parse().ok());
}

#[tokio::test]
async fn filters_take_what_they_name() {
    let world = World::new(NatsOptions::default()).await;
    world.fill(2).await;
    let all = LetterFilter::default;
    let cases = [
        (LetterFilter { service: "recorder".parse().ok(), ..all() }, vec!["d1", "d2", "d5", "d6"]),
        (LetterFilter { tenant: "acme".parse().ok(), ..all() }, vec!["d3", "d7"]),
        (LetterFilter { channel: "other-orders".parse().ok(), ..all() }, vec!["d4", "d8"]),
        (LetterFilter { reason: Some("malformed".into()), ..all() }, vec!["d2", "d6"]),
        (LetterFilter { tenant: "acme".parse().ok(), reason: Some("malformed".into()), ..all() }, vec![]),
        // Nobody's letters are no tenant's, whatever the tenant is called.
        (LetterFilter { tenant: "none".parse().ok(), ..all() }, vec![]),
        (LetterFilter { service: "reco".parse().ok(), ..all() }, vec![]),
    ];
    for (filter, expected) in cases {
        for size in [1, 10] {
            assert_eq!(world.all(&filter, size).await.1, expected, "{filter:?}");
        }
    }

    let fifth = world.dead.get("d5".parse().unwrap()).await.unwrap().unwrap().time;
    let since = LetterFilter { since: Some(fifth), ..all() };
    assert_eq!(world.all(&since, 3).await.1, ["d5", "d6", "d7", "d8"]);
    let until = LetterFilter { until: Some(fifth), ..all() };
    assert_eq!(world.all(&until, 3).await.1, ["d1", "d2", "d3", "d4"]);
    let later = LetterFilter { since: "2100-01-01T00:00:00Z".parse().ok(), ..all() };
    assert_eq!(world.all(&later, 3).await.1, [""; 0]);
}

#[tokio::test]
async fn a_rare_reason_costs_a_page_no_more_than_any() {
    let world = World::new(NatsOptions::default()).await;
    for _ in 0..1_100 {
        world.write(None, "unrouted", Bytes::from_static(b"{}")).await;
    }
    world.write(None, "malformed", Bytes::from_static(b"{")).await;
    let rare = LetterFilter { reason: Some("malformed".into()), ..LetterFilter::default() };
    let first = world.dead.page(&rare, None, 10).await.unwrap();
    assert_eq!((first.letters.len(), first.looked_at, first.left), (0, 1_000, 101));
    assert_eq!(world.all(&rare, 10).await, (2, vec!["d1101".to_owned()]));
}

#[tokio::test]
async fn letters_as_large_as_nats_takes_are_read() {
    let options = NatsOptions { max_payload: 1 << 20, ..NatsOptions::default() };
    let world = World::new(options).await;
    let large = Bytes::from(vec![b' '; (1 << 20) - 500]);
    for _ in 0..3 {
        world.write(None, "malformed", large.clone()).await;
    }
    let page = world.dead.page(&LetterFilter::default(), None, 10).await.unwrap();
    assert_eq!(ids(&page), ["d1", "d2", "d3"]);
    let one = world.dead.get("d2".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(one.payload, large);

    // More than one answer of the server may hold.
    let larger = World::new(NatsOptions::default()).await;
    for _ in 0..5 {
        larger.write(None, "malformed", Bytes::from(vec![b' '; 3 << 20])).await;
    }
    let (pages, all) = larger.all(&LetterFilter::default(), 100).await;
    assert_eq!((pages, all.len()), (2, 5));
}

#[tokio::test]
async fn what_is_no_letter_shows_all_the_same() {
    let world = World::new(NatsOptions::default()).await;
    let stored = world.bus.jetstream().publish("staffetta.v1.dead.media.acme.x", "\u{ff}".into()).await;
    stored.unwrap().await.unwrap();
    let page = world.dead.page(&LetterFilter::default(), None, 10).await.unwrap();
    assert_eq!((page.letters[0].service.as_str(), page.letters[0].reason.as_str()), ("media", "unreadable"));
    assert_eq!(page.letters[0].tenant, None);
}

#[tokio::test]
async fn a_letter_that_is_gone_is_none_and_can_be_deleted_again() {
    let world = World::new(NatsOptions::default()).await;
    world.fill(1).await;
    let id = "d2".parse().unwrap();
    assert!(world.dead.get(id).await.unwrap().is_some());
    world.dead.delete(id).await.unwrap();
    assert!(world.dead.get(id).await.unwrap().is_none());
    world.dead.delete(id).await.unwrap();
    world.dead.delete("d99".parse().unwrap()).await.unwrap();
    assert!(world.dead.get("d99".parse().unwrap()).await.unwrap().is_none());
}
