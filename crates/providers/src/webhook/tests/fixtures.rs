//! Every body in `tests/fixtures`, and what becomes of it.

mod changes;
mod echoes;
mod messages;
mod statuses;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::Value;
use staffetta_domain::EventType::{self, MessageDeleted, MessageEdited, MessageReceived};

use super::{leaf, parts, seen, touched};

/// One leaf of a fixture.
struct Row {
    fixture: &'static str,
    kind: EventType,
    touched: &'static str,
    seen: &'static str,
    /// Some of the event's data; null where there must be nothing.
    data: Value,
}

/// A leaf that touches a message and belongs to a conversation.
fn row(
    fixture: &'static str,
    kind: EventType,
    touched: &'static str,
    seen: &'static str,
    data: Value,
) -> Row {
    Row { fixture, kind, touched, seen, data }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn read(fixture: &str) -> Vec<u8> {
    std::fs::read(folder().join(fixture).with_extension("json")).unwrap()
}

fn rows() -> Vec<Row> {
    [messages::rows(), echoes::rows(), statuses::rows(), changes::rows()].into_iter().flatten().collect()
}

/// Whether the value holds all that is expected; an expected null means nothing there.
fn holds(value: Option<&Value>, expected: &Value) -> bool {
    match (value, expected) {
        (None, Value::Null) => true,
        (Some(Value::Object(fields)), Value::Object(expected)) => {
            expected.iter().all(|(name, expected)| holds(fields.get(name), expected))
        }
        (Some(value), expected) => value == expected,
        (None, _) => false,
    }
}

#[test]
fn every_fixture_becomes_what_it_should() {
    let mut expected: BTreeMap<&str, Vec<Row>> = BTreeMap::new();
    for row in rows() {
        expected.entry(row.fixture).or_default().push(row);
    }
    let mut wrong = Vec::new();
    for (fixture, rows) in expected {
        let (found, broken) = parts(&read(fixture));
        assert!(broken.is_empty(), "{fixture}: {broken:?}");
        assert_eq!(found.len(), rows.len(), "{fixture}");
        for (found, row) in found.iter().zip(rows) {
            let leaf = leaf(found);
            let told = (leaf.event.kind, touched(&leaf), seen(&leaf));
            if told != (row.kind, row.touched.to_owned(), row.seen.to_owned()) {
                wrong.push(format!("{fixture}: {told:?}"));
            }
            let data = Value::Object(leaf.event.data);
            if !holds(Some(&data), &row.data) {
                wrong.push(format!("{fixture}: {data:#}"));
            }
            assert_eq!(data["raw"], found.leaf, "{fixture}");
            // Of the history too it may be told that a user wrote, but that was long ago.
            let by_user = matches!(row.kind, MessageReceived | MessageEdited | MessageDeleted);
            assert_eq!(found.is_received(), by_user && data["history"].is_null(), "{fixture}");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_fixture_is_expected() {
    let told: BTreeSet<String> = rows().iter().map(|row| row.fixture.to_owned()).collect();
    let files = std::fs::read_dir(folder()).unwrap().map(|file| file.unwrap().path());
    let stored: BTreeSet<String> =
        files.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    assert_eq!(told, stored);
}

#[test]
fn every_leaf_rebuilt_as_a_webhook_is_the_same_leaf() {
    for row in rows() {
        let (found, _) = parts(&read(row.fixture));
        for found in &found {
            let (again, broken) = parts(&found.webhook());
            assert!(broken.is_empty(), "{}: {broken:?}", row.fixture);
            assert_eq!(again.len(), 1, "{}", row.fixture);
            let (leaf, again) = (leaf(found), leaf(&again[0]));
            assert!(leaf.event == again.event, "{}", row.fixture);
            assert!(leaf.touch == again.touch && leaf.sighting == again.sighting, "{}", row.fixture);
            assert!(leaf.reach == again.reach, "{}", row.fixture);
        }
    }
}
