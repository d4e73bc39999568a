//! `docs/asyncapi.yaml` names every subject, kind of event and header that this crate writes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::collections::BTreeSet;

use async_nats::HeaderMap;
use bytes::Bytes;
use jiff::Timestamp;
use staffetta_bus::{
    DeadLetter, Encoding, Origin, REPLY_TO, ReplyTo, SendSubject, dead_letter_message, dead_subject,
    event_message, event_subject, nats_endpoint_consumer,
};
use staffetta_domain::{ChannelId, Event, EventId, EventType, Lane, TenantId};

const PAGE: &str = include_str!("../../../docs/asyncapi.yaml");

fn ids() -> (TenantId, ChannelId) {
    ("acme".parse().unwrap(), "acme-orders".parse().unwrap())
}

fn event(kind: EventType) -> Event {
    let (tenant, channel) = ids();
    let data = serde_json::json!({ "conversation_id": "c7", "sequence": 3 });
    Event {
        id: EventId::of(&[kind.as_str()]),
        tenant,
        channel,
        kind,
        time: Timestamp::UNIX_EPOCH,
        subject: "inv-2026-0042".into(),
        data: data.as_object().unwrap().clone(),
        trace: None,
    }
}

fn letter() -> DeadLetter {
    let (tenant, channel) = ids();
    DeadLetter {
        id: EventId::of(&["a letter"]),
        service: "dispatcher",
        tenant: Some(tenant),
        channel: Some(channel),
        reason: "invalid_command",
        detail: "to: is missing".into(),
        subject: "staffetta.v1.send.acme.acme-orders.normal".into(),
        encoding: Encoding::Json,
        payload: Bytes::from_static(b"{}"),
        time: Timestamp::UNIX_EPOCH,
        origin: Origin::Other,
    }
}

/// The lines of one block: those after its key that stand further to the right.
fn block<'page>(page: &'page str, key: &str) -> Vec<&'page str> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut lines = page.lines().skip_while(|line| line.trim() != format!("{key}:"));
    let own = indent(lines.next().unwrap_or_else(|| panic!("the page has no {key}")));
    lines.take_while(|line| line.trim().is_empty() || indent(line) > own).collect()
}

/// A block's lines without what they are indented by.
fn lines<'page>(page: &'page str, key: &str) -> BTreeSet<&'page str> {
    block(page, key).into_iter().map(str::trim).collect()
}

/// The address of a channel, with its variable parts filled in.
fn address(channel: &str, parts: &[(&str, &str)]) -> String {
    let channels = block(PAGE, "channels").join("\n");
    let lines = lines(&channels, channel);
    let address = lines.iter().find_map(|line| line.strip_prefix("address: ")).unwrap();
    parts.iter().fold(address.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
}

/// The headers must all stand there, as properties within that block of the components.
fn names_all(headers: &HeaderMap, key: &str) {
    let components = block(PAGE, "components").join("\n");
    let known = lines(&components, key);
    for (name, _) in headers.iter() {
        assert!(known.contains(format!("{name}:").as_str()), "{key} has no header {name}");
    }
}

#[test]
fn every_subject_is_one_of_the_page() {
    let (tenant, channel) = ids();
    let own = [("tenant", "acme"), ("channel", "acme-orders")];
    for lane in [Lane::Urgent, Lane::Normal, Lane::Bulk] {
        let subject = SendSubject { tenant: tenant.clone(), channel: channel.clone(), lane }.subject();
        let name = lane.to_string();
        assert_eq!(address("send", &[own[0], own[1], ("lane", name.as_str())]), subject);
    }
    for kind in EventType::ALL {
        let name = kind.kind();
        let expected = event_subject(&event(kind));
        assert_eq!(address("event", &[own[0], own[1], ("kind", name.as_str())]), expected);
    }
    let dead = dead_subject("dispatcher", Some(&tenant), Some(&channel));
    assert_eq!(address("dead", &[own[0], own[1], ("service", "dispatcher")]), dead);
    let consumer = nats_endpoint_consumer(&"acme-bus".parse().unwrap()).replace("acme-bus", "<id>");
    assert!(PAGE.contains(&format!("$JS.API.CONSUMER.MSG.NEXT.EVENTS.{consumer}")));
}

#[test]
fn an_answer_may_be_asked_for_where_the_page_says() {
    let (tenant, _) = ids();
    let mut headers = HeaderMap::new();
    headers.insert(REPLY_TO, address("answer", &[("tenant", "acme"), ("name", "till-7")]).as_str());
    assert!(ReplyTo::of(&headers, &tenant).unwrap().is_some());
    assert!(PAGE.contains(&format!("'$message.header#/{REPLY_TO}'")));
}

#[test]
fn every_kind_of_event_is_a_message_of_its_own() {
    let kinds = lines(PAGE, "kind");
    let components = block(PAGE, "components").join("\n");
    for kind in EventType::ALL {
        let name = kind.kind();
        assert!(kinds.contains(format!("- {name}").as_str()), "{name} is none of the kinds");
        let told = format!("{name}: {{ $ref: '#/components/messages/{name}' }}");
        assert!(lines(PAGE, "event").contains(told.as_str()), "the channel does not tell {name}");
        let message = block(&components, &name).join("\n");
        assert!(message.contains(&format!("type: {{ const: {} }}", kind.as_str())), "{name} has no type");
        assert!(message.contains("messageTraits/cloudevent"), "{name} has no headers");
    }
    assert_eq!(kinds.iter().filter(|line| line.starts_with("- ")).count(), EventType::ALL.len());
}

#[test]
fn every_header_stands_there() {
    for encoding in [Encoding::Json, Encoding::Protobuf] {
        let (headers, _) = event_message(&event(EventType::CommandAccepted), encoding);
        names_all(&headers, "cloudevent");
        assert!(PAGE.contains(headers.get("Content-Type").unwrap().as_str()));
    }
    names_all(&dead_letter_message(&letter()).0, "dead-letter");
    let mut command = HeaderMap::new();
    for name in ["Content-Type", "Nats-Msg-Id", REPLY_TO] {
        command.insert(name, "x");
    }
    names_all(&command, "command");
}
