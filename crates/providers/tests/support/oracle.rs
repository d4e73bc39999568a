//! What holds for every body that there can be, whoever wrote it.

use jiff::Timestamp;
use serde_json::Value;
use staffetta_domain::{ChannelId, Leaf, TenantId};
use staffetta_providers::webhook::{Broken, Found, Part, parse};

/// All that may stand in a place: names of the envelope and of lists, never a word of the body itself.
pub(crate) const WORDS: [&str; 19] = [
    "body",
    "entry",
    "changes",
    "field",
    "value",
    "metadata",
    "contacts",
    "messages",
    "statuses",
    "errors",
    "message_echoes",
    "history",
    "threads",
    "state_sync",
    "calls",
    "groups",
    "user_preferences",
    "user_id_update",
    "automatic_events",
];

/// When every body here arrived: no body names it, so that a time of its own is told from it.
pub(crate) fn arrival() -> Timestamp {
    Timestamp::constant(1_763_717_400, 0)
}

/// The leaf as some tenant is told it.
pub(crate) fn told(found: &Found) -> Leaf {
    let (tenant, channel): (TenantId, ChannelId) = match ("acme".parse(), "acme-orders".parse()) {
        (Ok(tenant), Ok(channel)) => (tenant, channel),
        _ => unreachable!("both are ids"),
    };
    found.leaf(&tenant, &channel)
}

/// Panics if the body is not taken apart as any body has to be.
pub(crate) fn check(body: &[u8]) {
    // What is no UTF-8 is read as if it had been written so.
    let text = String::from_utf8_lossy(body);
    let parts = parse(body, arrival());
    assert!(!parts.is_empty(), "a body has no part at all");
    // What a body may cost, counted: a part takes a byte of it at least, and no byte is in many dead letters.
    assert!(parts.len() <= 1 + text.len(), "{} parts of {} bytes", parts.len(), text.len());
    let mut dead = 0;
    for part in &parts {
        match part {
            Part::Found(found) => check_found(found, text.len()),
            Part::Broken(broken) => {
                check_broken(broken, &text);
                dead += broken.payload.len();
            }
        }
    }
    assert!(dead <= 2 * text.len(), "{dead} bytes of dead letters from {} bytes", text.len());
}

/// It can be told, in a form that is read back as the same, and be written as a webhook that is the same leaf.
fn check_found(found: &Found, length: usize) {
    let leaf = told(found);
    let id = leaf.event.id.as_str();
    assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id} is no event id");
    let data = Value::Object(leaf.event.data.clone());
    let read = serde_json::from_str::<Value>(&data.to_string());
    assert!(read.is_ok_and(|read| read == data), "data is not read back as it was written");

    let webhook = found.webhook();
    // A number may grow where it is written out: 1e9 is 1000000000.0.
    assert!(webhook.len() <= 16 * length + 400, "a webhook of {} bytes from {length}", webhook.len());
    let again = parse(&webhook, arrival());
    let [Part::Found(again)] = again.as_slice() else { panic!("a rebuilt leaf is {again:?}") };
    assert!(
        (again.kind(), again.address()) == (found.kind(), found.address()),
        "rebuilt, it is somebody else's"
    );
    check_same(&leaf, &told(again));
    assert!(again.webhook() == webhook, "rebuilt again, it is another webhook");
}

/// Both do the same. What they say is personal, so it does not print.
fn check_same(one: &Leaf, other: &Leaf) {
    assert!(one.event == other.event, "not the same event");
    assert!(one.touch == other.touch, "not the same touch");
    let accepted = |leaf: &Leaf| leaf.settles.as_ref().map(|settles| settles.accepted.clone());
    assert!(accepted(one) == accepted(other), "not the same command");
    assert!(one.sighting == other.sighting, "not the same sighting");
    assert!(one.reach == other.reach, "not the same reach");
}

/// It is a part of the body, and says where and why without a word of it.
fn check_broken(broken: &Broken, text: &str) {
    let payload = std::str::from_utf8(&broken.payload);
    assert!(payload.is_ok_and(|payload| text.contains(payload)), "a dead letter is no part of the body");
    assert!(
        !broken.problem.is_empty() && broken.problem.len() < 100,
        "a problem without words, or with too many"
    );
    for step in broken.place.split('.') {
        let (word, index) = step.split_once('[').unwrap_or((step, "0]"));
        let is_index = index.strip_suffix(']').is_some_and(|index| index.parse::<usize>().is_ok());
        assert!(WORDS.contains(&word) && is_index, "{} says more than where", broken.place);
    }
}
