//! Bodies composed at random of leaves that are known one by one: a body holds exactly what its leaves hold, however it
//! was put together and written.

#[path = "../support/dress.rs"]
mod dress;
#[path = "../support/oracle.rs"]
mod oracle;

mod batch;
mod broken;
mod leaf;
mod manage;
mod message;
mod pen;
mod status;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use serde_json::Value;
use staffetta_domain::{self as domain, EventId};
use staffetta_providers::webhook::{Broken, Found, Part, parse};

use leaf::{Item, Leaf};
use oracle::{arrival, told};

fn config() -> ProptestConfig {
    let seeds = FileFailurePersistence::Direct("tests/properties/seeds.txt");
    ProptestConfig { cases: 128, failure_persistence: Some(Box::new(seeds)), ..ProptestConfig::default() }
}

fn parts(body: &str) -> (Vec<Found>, Vec<Broken>) {
    let (mut found, mut broken) = (Vec::new(), Vec::new());
    for part in parse(body.as_bytes(), arrival()) {
        match part {
            Part::Found(part) => found.push(part),
            Part::Broken(part) => broken.push(part),
        }
    }
    (found, broken)
}

fn ids(found: &[Found]) -> BTreeSet<EventId> {
    found.iter().map(|found| told(found).event.id).collect()
}

/// The one leaf of a body that holds no other.
fn alone(leaf: &Leaf) -> Found {
    let body = batch::alone(leaf);
    let (mut found, broken) = parts(&body);
    assert!(broken.is_empty() && found.len() == 1, "{found:?}, {broken:?} of {body}");
    found.remove(0)
}

fn some(leaves: impl Strategy<Value = Leaf>) -> impl Strategy<Value = Vec<Leaf>> {
    prop::collection::vec(leaves, 1..30)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_batch_holds_exactly_what_its_leaves_hold(leaves in some(leaf::of_any_kind()), layout: u64) {
        let (found, broken) = parts(&batch::body(&leaves, layout));
        prop_assert!(broken.is_empty(), "{broken:?}");
        prop_assert_eq!(found.len(), leaves.len());
        let each: BTreeMap<String, EventId> =
            leaves.iter().map(|leaf| (leaf.key(), told(&alone(leaf)).event.id)).collect();
        let union: BTreeSet<EventId> = each.values().cloned().collect();
        prop_assert_eq!(ids(&found), union);
        // What the contract calls different is told as different.
        prop_assert_eq!(ids(&found).len(), each.len());
    }

    #[test]
    fn what_is_broken_costs_only_itself(
        leaves in some(leaf::of_any_kind()),
        broken in prop::collection::vec(broken::of_any_kind(), 1..6),
        layout: u64,
    ) {
        for leaf in &broken {
            let (found, broken) = parts(&batch::alone(leaf));
            prop_assert!(found.is_empty() && broken.len() == 1, "{found:?}, {broken:?} of {leaf:?}");
        }
        let all: Vec<Leaf> = leaves.iter().chain(&broken).cloned().collect();
        let (told, dead) = parts(&batch::body(&all, layout));
        prop_assert_eq!(ids(&told), leaves.iter().map(|leaf| oracle::told(&alone(leaf)).event.id).collect());
        prop_assert_eq!(told.len(), leaves.len());
        prop_assert_eq!(dead.len(), broken.len());
        // Each as it was written, so that somebody can mend it.
        for leaf in &broken {
            let Item::Raw(text) = &leaf.item else { continue };
            prop_assert!(dead.iter().any(|dead| dead.payload == text.as_bytes()), "{text} is lost");
        }
    }

    #[test]
    fn company_and_layout_change_nothing_in_a_leaf(leaves in some(leaf::of_any_kind()), layout: u64) {
        let alone: Vec<(&Leaf, Found)> = leaves.iter().map(|leaf| (leaf, alone(leaf))).collect();
        let alone: Vec<(&Leaf, &Found, domain::Leaf)> =
            alone.iter().map(|(leaf, found)| (*leaf, found, told(found))).collect();
        for found in &parts(&batch::body(&leaves, layout)).0 {
            let here = told(found);
            let raw = here.event.data.get("raw");
            let sent = alone.iter().find(|(leaf, _, there)| {
                there.event.id == here.event.id && leaf.item.value() == raw && leaf.kind == here.event.kind
            });
            prop_assert!(sent.is_some(), "{raw:?} was never sent");
            let Some((leaf, alone, there)) = sent else { continue };
            prop_assert_eq!(here.event.time, there.event.time);
            prop_assert_eq!(&here.event.subject, &there.event.subject);
            prop_assert!(here.touch == there.touch && here.reach == there.reach);
            prop_assert_eq!(here.settles.is_some(), there.settles.is_some());
            prop_assert_eq!(found.address(), alone.address());
            if let Some(contact) = &leaf.contact {
                prop_assert_eq!(here.event.data.get("contact"), Some(contact));
                prop_assert_eq!(&here.sighting, &there.sighting);
            }
        }
    }

    #[test]
    fn every_body_holds_what_every_body_holds(leaves in some(leaf::of_any_kind()), layout: u64) {
        oracle::check(batch::body(&leaves, layout).as_bytes());
    }

    #[test]
    fn the_same_batch_through_two_apps_is_told_once(leaves in some(leaf::of_any_kind()), one: u64, other: u64) {
        let (here, there) = (parts(&batch::body(&leaves, one)).0, parts(&batch::body(&leaves, other)).0);
        prop_assert_eq!(ids(&here), ids(&there));
    }

    #[test]
    fn a_time_is_the_same_as_a_text_and_as_a_number(leaf in leaf::of_any_kind()) {
        let mut as_number = leaf.clone();
        if let Item::Good(Value::Object(fields)) = &mut as_number.item
            && let Some(Value::String(time)) = fields.get("timestamp")
            && leaf.has_id()
        {
            let time: i64 = time.parse().expect("a time that the generator wrote");
            fields.insert("timestamp".into(), time.into());
        }
        let (one, other) = (told(&alone(&leaf)).event, told(&alone(&as_number)).event);
        prop_assert_eq!((one.id, one.time), (other.id, other.time));
    }

    #[test]
    fn a_leaf_is_told_as_what_the_contract_calls_it(leaf in leaf::of_any_kind()) {
        prop_assert_eq!(told(&alone(&leaf)).event.kind, leaf.kind);
    }
}
