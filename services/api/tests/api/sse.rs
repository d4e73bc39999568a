//! `/v1/events`: a tenant's events as they happen, without a gap and without a repeat.

use std::time::Duration;

use futures_util::StreamExt;
use jiff::Timestamp;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use staffetta_bus::{Encoding, Retention, event_message, event_subject};
use staffetta_domain::{Event, EventId, EventType, Object};
use staffetta_testkit::until;
use tokio::time::timeout;

use crate::harness::{ACME, Answer, Gateway, OTHER, WAIT, register};

/// Longest that a test follows one stream.
const FOLLOWED: Duration = Duration::from_secs(300);

/// Something that happened to `acme-orders` of acme.
fn event(name: &str) -> Event {
    Event {
        id: EventId::of(&[name]),
        tenant: "acme".parse().unwrap(),
        channel: "acme-orders".parse().unwrap(),
        kind: EventType::MessageReceived,
        time: "2026-11-21T09:30:00Z".parse().unwrap(),
        subject: name.into(),
        data: Object::from_iter([("text".to_owned(), json!("line one\nline two\r\nè"))]),
        trace: None,
    }
}

fn of_other(name: &str) -> Event {
    Event { tenant: "other".parse().unwrap(), channel: "other-orders".parse().unwrap(), ..event(name) }
}

/// Puts events on EVENTS, and gives back the number of the last.
async fn publish(gateway: &Gateway, events: impl IntoIterator<Item = Event>) -> u64 {
    let mut last = 0;
    for event in events {
        let (headers, payload) = event_message(&event, Encoding::Protobuf);
        let publishing =
            gateway.bus.jetstream().publish_with_headers(event_subject(&event), headers, payload).await;
        last = publishing.unwrap().await.unwrap().sequence;
    }
    last
}

/// What stands between two empty lines.
#[derive(Debug, Default, PartialEq)]
struct Block {
    id: Option<u64>,
    event: Option<String>,
    data: Option<Value>,
}

/// A stream that is being read.
struct Reading {
    response: Response,
    text: Vec<u8>,
    comments: usize,
}

impl Reading {
    async fn open(gateway: &Gateway, query: &str, last: Option<u64>) -> Self {
        let response = ask(gateway, ACME, query, last).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, text: Vec::new(), comments: 0 }
    }

    /// The next block; `None` once the stream has ended.
    async fn block(&mut self) -> Option<Block> {
        loop {
            if let Some(end) = self.text.windows(2).position(|pair| pair == b"\n\n") {
                let block: Vec<u8> = self.text.drain(..end + 2).collect();
                return Some(self.parse(std::str::from_utf8(&block).unwrap()));
            }
            let chunk = timeout(WAIT, self.response.chunk()).await.expect("the stream says nothing");
            if let Err(error) = &chunk {
                assert!(!error.is_timeout(), "the stream does not end");
            }
            self.text.extend(chunk.ok().flatten()?);
        }
    }

    fn parse(&mut self, text: &str) -> Block {
        let mut block = Block::default();
        for line in text.lines().filter(|line| !line.is_empty()) {
            match line.split_once(": ") {
                Some(("id", id)) => block.id = Some(id.parse().unwrap()),
                Some(("event", event)) => block.event = Some(event.into()),
                Some(("data", data)) => block.data = Some(serde_json::from_str(data).unwrap()),
                Some(("retry", millis)) => assert_eq!(millis, "2000"),
                _ => {
                    assert_eq!(line, ":");
                    self.comments += 1;
                }
            }
        }
        block
    }

    /// The next block with an event.
    async fn told(&mut self) -> Block {
        loop {
            let block = self.block().await.expect("the stream ended");
            if block.data.is_some() {
                return block;
            }
        }
    }

    /// The next event's number and subject.
    async fn event(&mut self) -> (u64, String) {
        let block = self.told().await;
        (block.id.unwrap(), block.data.unwrap()["subject"].as_str().unwrap().to_owned())
    }

    async fn subjects(&mut self, count: usize) -> Vec<String> {
        let mut subjects = Vec::new();
        while subjects.len() < count {
            subjects.push(self.event().await.1);
        }
        subjects
    }
}

async fn ask(gateway: &Gateway, key: &str, query: &str, last: Option<u64>) -> Response {
    let mut request = gateway.request(Method::GET, &format!("/v1/events{query}")).bearer_auth(key);
    request = request.timeout(FOLLOWED);
    if let Some(last) = last {
        request = request.header("Last-Event-ID", last.to_string());
    }
    request.send().await.unwrap()
}

#[tokio::test]
async fn a_tenants_own_events_come_as_they_happen() {
    let gateway = Gateway::start().await;
    publish(&gateway, [event("before")]).await;
    let mut reading = Reading::open(&gateway, "", None).await;
    // Where to go on is known before anything happens.
    assert_eq!(reading.block().await.unwrap(), Block { id: Some(1), ..Block::default() });
    publish(&gateway, [of_other("theirs"), event("one")]).await;
    let block = reading.told().await;
    assert_eq!((block.id, block.event.as_deref()), (Some(3), Some("staffetta.message.received")));
    let (_, json) = event_message(&event("one"), Encoding::Json);
    assert_eq!(block.data.unwrap(), serde_json::from_slice::<Value>(&json).unwrap());

    let mut theirs = Reading {
        response: ask(&gateway, OTHER, "?since=2026-01-01T00:00:00Z", None).await,
        text: Vec::new(),
        comments: 0,
    };
    assert_eq!(theirs.event().await, (2, "theirs".into()));
    publish(&gateway, [event("two"), of_other("theirs too")]).await;
    assert_eq!(reading.event().await, (4, "two".into()));
    assert_eq!(theirs.event().await, (5, "theirs too".into()));
}

#[tokio::test]
async fn a_stream_that_is_cut_again_and_again_has_no_gap_and_no_repeat() {
    let gateway = Gateway::start().await;
    let names: Vec<String> = (0..400).map(|n| format!("event {n}")).collect();
    let mut reading = Reading::open(&gateway, "", None).await;
    let mut last = reading.block().await.unwrap().id;
    let publishing = async {
        for some in names.chunks(3) {
            publish(&gateway, some.iter().map(|name| event(name)).chain([of_other("noise")])).await;
        }
    };
    let following = async {
        let mut seen = Vec::new();
        while seen.len() < names.len() {
            // Cut off in the middle of whatever is being sent.
            let until = seen.len() + 1 + seen.len() % 23;
            while seen.len() < until.min(names.len()) {
                let (id, subject) = reading.event().await;
                last = Some(id);
                seen.push(subject);
            }
            reading = Reading::open(&gateway, "?type=message.*", last).await;
        }
        seen
    };
    let ((), seen) = tokio::join!(publishing, following);
    assert_eq!(seen, names);
}

#[tokio::test]
async fn events_are_chosen_by_channel_type_and_time() {
    let gateway = Gateway::start().await;
    let status = |name: &str| Event { kind: EventType::MessageStatus, ..event(name) };
    let bills = |name: &str| Event { channel: "acme-bills".parse().unwrap(), ..event(name) };
    publish(&gateway, [event("a"), status("b")]).await;
    let between = Timestamp::now();
    publish(&gateway, [bills("c"), event("d")]).await;
    let first = "2026-01-01T00:00:00Z".to_owned();
    for (query, expected) in [
        (format!("?since={first}"), &["a", "b", "c", "d"][..]),
        (format!("?since={between}"), &["c", "d"]),
        (format!("?since={first}&channel=acme-orders"), &["a", "b", "d"]),
        (format!("?since={first}&type=message.status"), &["b"]),
        (format!("?since={first}&type=message.status,message.rec*&channel=acme-bills"), &["c"]),
        // Another tenant's channel is as good as one that there is not.
        (format!("?since={first}&channel=other-orders,acme-bills"), &["c"]),
    ] {
        let mut reading = Reading::open(&gateway, &query, None).await;
        assert_eq!(reading.subjects(expected.len()).await, expected, "{query}");
    }
    for (query, field) in [
        ("?type=message", "type"),
        ("?channel=A", "channel"),
        ("?since=yesterday", "since"),
        ("?tenant=other", "tenant"),
    ] {
        let wrong = gateway.get(&format!("/v1/events{query}")).await;
        wrong.is_problem(400, "invalid-parameter");
        assert_eq!(wrong.json["field"], field, "{query}");
    }
}

#[tokio::test]
async fn a_place_that_is_kept_no_more_is_told_and_not_passed_over() {
    let gateway = Gateway::start().await;
    let last = publish(&gateway, ["a", "b", "c", "d"].map(event)).await;
    let stream = gateway.bus.jetstream().get_stream("EVENTS").await.unwrap();
    stream.purge().sequence(3).await.unwrap();
    let refused = |last: u64| {
        let gateway = &gateway;
        async move { Answer::of(ask(gateway, ACME, "", Some(last)).await).await }
    };
    for gone in [0, 1, last + 1] {
        let answer = refused(gone).await;
        answer.is_problem(410, "events-gone");
        assert_eq!(answer.json["field"], "since", "{gone}");
        assert!(answer.json["detail"].as_str().unwrap().contains("since"));
    }
    assert_eq!(Reading::open(&gateway, "", Some(2)).await.subjects(2).await, ["c", "d"]);
    assert_eq!(Reading::open(&gateway, "?since=2026-01-01T00:00:00Z", Some(3)).await.event().await.1, "d");
    let mut end = Reading::open(&gateway, "", Some(last)).await;
    publish(&gateway, [event("e")]).await;
    assert_eq!(end.event().await.1, "e");

    let wrong = gateway.request(Method::GET, "/v1/events").bearer_auth(ACME).header("Last-Event-ID", "x");
    let wrong = Answer::of(wrong.send().await.unwrap()).await;
    wrong.is_problem(400, "invalid-parameter");
    assert_eq!(wrong.json["field"], "Last-Event-ID");
}

#[tokio::test]
async fn a_silent_stream_shows_that_it_lives_and_how_far_it_has_come() {
    let gateway = Gateway::start().await;
    let mut reading = Reading::open(&gateway, "?type=command.*", None).await;
    assert_eq!(reading.block().await.unwrap().id, Some(0));
    let last = publish(&gateway, ["a", "b"].map(event)).await;
    // A sign of life may come between the two.
    let mut moved = Block::default();
    while moved.id != Some(last) {
        moved = reading.block().await.unwrap();
        assert_eq!(moved, Block { id: moved.id, ..Block::default() });
    }
    assert!(reading.comments > 0);
}

#[tokio::test]
async fn a_connection_to_nats_that_was_lost_costs_time_and_no_event() {
    let gateway = Gateway::start().await;
    let mut reading = Reading::open(&gateway, "", None).await;
    publish(&gateway, [event("a")]).await;
    assert_eq!(reading.event().await.1, "a");
    let direct = staffetta_bus::Bus::connect(gateway.nats.url(), "beside").await.unwrap();
    gateway.wire.cut().await.unwrap();
    let (headers, payload) = event_message(&event("b"), Encoding::Json);
    let publishing = direct.jetstream().publish_with_headers(event_subject(&event("b")), headers, payload);
    publishing.await.unwrap().await.unwrap();
    gateway.wire.heal().await.unwrap();
    assert_eq!(reading.event().await.1, "b");
}

#[tokio::test]
async fn a_stream_ends_when_the_events_are_numbered_anew() {
    let gateway = Gateway::start().await;
    let mut reading = Reading::open(&gateway, "", None).await;
    let last = publish(&gateway, ["a", "b"].map(event)).await;
    assert_eq!(reading.subjects(2).await, ["a", "b"]);
    gateway.bus.jetstream().delete_stream("EVENTS").await.unwrap();
    let retention = Retention { replicas: 1, webhooks_max_bytes: 1 << 20, lane_max_commands: 10 };
    gateway.bus.set_up_streams(&retention).await.unwrap();
    publish(&gateway, [event("c")]).await;
    while reading.block().await.is_some() {}
    let answer = Answer::of(ask(&gateway, ACME, "", Some(last)).await).await;
    answer.is_problem(410, "events-gone");
    let since = "?since=2026-01-01T00:00:00Z";
    assert_eq!(Reading::open(&gateway, since, None).await.event().await.1, "c");
}

#[tokio::test]
async fn a_key_has_so_many_streams_and_one_that_is_closed_makes_room() {
    let gateway = Gateway::start().await;
    let mut open = Vec::new();
    for _ in 0..16 {
        open.push(Reading::open(&gateway, "", None).await);
    }
    let refused = Answer::of(ask(&gateway, ACME, "", None).await).await;
    refused.is_problem(429, "too-many-streams");
    assert_eq!(refused.header("retry-after"), "10");
    assert_eq!(ask(&gateway, OTHER, "", None).await.status(), 200);
    open.pop();
    let room = until("room for a stream", WAIT, async || {
        (ask(&gateway, ACME, "", None).await.status() == 200).then_some(())
    });
    room.await.unwrap();
    for reading in &mut open {
        assert_eq!(reading.block().await.unwrap().id, Some(0));
    }
}

#[tokio::test]
async fn a_stream_ends_when_its_key_does() {
    let gateway = Gateway::start().await;
    let mut reading = Reading::open(&gateway, "", None).await;
    assert!(reading.block().await.is_some());
    register(&gateway.bus, "[[tenant]]\nid = \"acme\"\napi_keys = [\"another-key-of-acme\"]\n").await;
    while let Some(block) = reading.block().await {
        assert_eq!(block.data, None);
    }
    Answer::of(ask(&gateway, ACME, "", None).await).await.is_problem(401, "unauthorized");

    // On a busy machine the key may end before it is used.
    let response = until("a stream of a key that ends", WAIT, async || {
        let soon = Timestamp::now() + jiff::SignedDuration::from_secs(3);
        let key = format!("{{ key = \"{OTHER}\", expires = \"{soon}\" }}");
        register(&gateway.bus, &format!("[[tenant]]\nid = \"other\"\napi_keys = [{key}]\n")).await;
        let response = ask(&gateway, OTHER, "", None).await;
        (response.status() == 200).then_some(response)
    });
    let mut theirs = Reading { response: response.await.unwrap(), text: Vec::new(), comments: 0 };
    while let Some(block) = theirs.block().await {
        assert_eq!(block.data, None);
    }
    Answer::of(ask(&gateway, OTHER, "", None).await).await.is_problem(401, "unauthorized");
}

#[tokio::test]
async fn a_stop_ends_every_stream_at_once() {
    let gateway = Gateway::start().await;
    let mut open = Vec::new();
    for _ in 0..8 {
        let mut reading = Reading::open(&gateway, "", None).await;
        assert!(reading.block().await.is_some());
        open.push(reading);
    }
    gateway.stop.cancel();
    let ends = futures_util::stream::iter(&mut open).then(async |reading| reading.block().await);
    assert!(ends.all(async |end| end.is_none()).await);
    gateway.running.await.unwrap().unwrap();
}
