//! Webhooks composed at random, to two recorders at once: what comes of them is their union, whatever the order, the
//! company and the repeats.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use staffetta_providers::webhook::{Part, parse};

use crate::harness::{Kind, World, status, text, turns};
use crate::on_both;

on_both!(random_webhooks_end_as_in_order);

const ROUNDS: u64 = 4;
/// Numbers, and whose they are.
const NUMBERS: [(&str, &str, &str); 3] =
    [("100", "acme", "acme-orders"), ("101", "acme", "acme-returns"), ("200", "beta", "beta-shop")];

/// A leaf, as it stands in its list.
#[derive(Clone)]
struct Sprig {
    number: &'static str,
    list: &'static str,
    leaf: Value,
}

/// What the database knows of a message: channel, wamid, state, statuses, conversation.
type MessageRow = (String, String, i64, i64, i64);

async fn random_webhooks_end_as_in_order(kind: Kind) {
    let sprigs = sprigs();
    let orderly =
        ended(kind, &[sprigs.iter().map(|sprig| body(std::slice::from_ref(sprig))).collect()], 1).await;
    assert_eq!(orderly.events, expected(&sprigs));
    for seed in 0..ROUNDS {
        let mut random = SmallRng::seed_from_u64(seed);
        let shuffled = ended(kind, &composed(&sprigs, &mut random), 2).await;
        assert_eq!(shuffled, orderly, "seed {seed}");
    }
}

/// Every user writes under a number, under an id and under both, and is sent messages whose statuses come in all
/// sorts.
fn sprigs() -> Vec<Sprig> {
    let mut sprigs = Vec::new();
    for (number, ..) in NUMBERS {
        for user in 0..4 {
            let (phone, id) = (format!("39348000000{user}"), format!("IT.1349120865530{user}"));
            for (index, (phone, id)) in
                [(&*phone, ""), ("", &*id), (&*phone, &*id), (&*phone, ""), ("", &*id)]
                    .into_iter()
                    .enumerate()
            {
                let mut leaf = text(phone, &format!("wamid.{number}.{user}.{index}"));
                leaf["from_user_id"] = json!(id);
                sprigs.push(Sprig { number, list: "messages", leaf });
            }
            let all = ["sent", "delivered", "read", "failed"];
            for sent in 0..3 {
                for name in &all[..sent + 2] {
                    let mut leaf = status(&format!("wamid.{number}.{user}.out{sent}"), name);
                    leaf["recipient_id"] = json!(phone);
                    sprigs.push(Sprig { number, list: "statuses", leaf });
                }
            }
        }
    }
    sprigs
}

/// A body of these leaves, each in a change of its own unless its neighbour fits in.
fn body(sprigs: &[Sprig]) -> Value {
    let mut entries: Vec<Value> = Vec::new();
    for Sprig { number, list, leaf } in sprigs {
        let value = json!({"metadata": {"phone_number_id": number}, *list: [leaf]});
        let fits = entries.last_mut().filter(|entry| {
            entry["changes"][0]["value"]["metadata"]["phone_number_id"] == *number
                && entry["changes"][0]["value"].get(list).is_some()
        });
        match fits {
            Some(entry) => {
                entry["changes"][0]["value"][list]
                    .as_array_mut()
                    .into_iter()
                    .for_each(|all| all.push(leaf.clone()));
            }
            None => {
                entries.push(json!({"id": "WABA", "changes": [{"field": "messages", "value": value}]}));
            }
        }
    }
    json!({"object": "whatsapp_business_account", "entry": entries})
}

/// Each leaf at least once, in any order and company, as envelopes of bodies.
fn composed(sprigs: &[Sprig], random: &mut SmallRng) -> Vec<Vec<Value>> {
    let mut all = sprigs.to_vec();
    for _ in 0..sprigs.len() {
        all.push(sprigs[random.random_range(0..sprigs.len())].clone());
    }
    all.shuffle(random);
    let mut envelopes: Vec<Vec<Value>> = Vec::new();
    let mut rest = &all[..];
    while !rest.is_empty() {
        let (now, later) = rest.split_at(random.random_range(1..=rest.len().min(9)));
        rest = later;
        match envelopes.last_mut() {
            Some(envelope) if random.random_bool(0.5) => envelope.push(body(now)),
            _ => envelopes.push(vec![body(now)]),
        }
    }
    envelopes
}

/// How it ended.
#[derive(Debug, PartialEq)]
struct End {
    events: BTreeSet<String>,
    /// Channel, wamid, state, statuses.
    messages: Vec<(String, String, i64, i64)>,
    /// The messages of each conversation.
    conversations: BTreeSet<BTreeSet<(String, String)>>,
    /// Channel, name, unread messages.
    unread: Vec<(String, String, i64)>,
}

async fn ended(kind: Kind, envelopes: &[Vec<Value>], recorders: usize) -> End {
    let mut world = World::new(kind).await;
    for _ in 0..recorders {
        world.start_recorder().await;
    }
    for envelope in envelopes {
        world.publish(envelope).await;
    }
    world.settled().await;
    let told = world.told().await;
    assert!(told.values().all(|times| *times == 1));
    let told: BTreeSet<String> = told.into_keys().collect();
    assert_eq!(told, world.recorded().await);
    assert!(world.letters().await.is_empty());
    turns(&world.events().await);

    let rows: Vec<MessageRow> = world
        .rows(
            "SELECT channel, wamid, state::bigint, cardinality(steps)::bigint, conversation
             FROM messages ORDER BY channel, wamid",
            "SELECT channel, wamid, state, length(steps) - length(replace(steps, ',', '')), conversation
             FROM messages ORDER BY channel, wamid",
        )
        .await;
    let unread = "SELECT channel, phone || ' ' || user_id, unread::bigint FROM conversations
                  WHERE merged_into IS NULL ORDER BY channel, phone";
    let unread_in_sqlite = "SELECT channel, phone || ' ' || user_id, unread FROM conversations
                            WHERE merged_into IS NULL ORDER BY channel, phone";
    let unread = world.rows(unread, unread_in_sqlite).await;
    world.stop().await;

    let mut conversations: BTreeMap<i64, BTreeSet<(String, String)>> = BTreeMap::new();
    for (channel, wamid, _, _, conversation) in &rows {
        conversations.entry(*conversation).or_default().insert((channel.clone(), wamid.clone()));
    }
    End {
        events: told,
        messages: rows
            .into_iter()
            .map(|(channel, wamid, state, steps, _)| (channel, wamid, state, steps))
            .collect(),
        conversations: conversations.into_values().collect(),
        unread,
    }
}

/// The ids of the leaves' events, each leaf read alone.
fn expected(sprigs: &[Sprig]) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    for sprig in sprigs {
        let (_, tenant, channel) = NUMBERS.iter().find(|(number, ..)| *number == sprig.number).unwrap();
        let alone = body(std::slice::from_ref(sprig)).to_string();
        for part in parse(alone.as_bytes(), Timestamp::now()) {
            let Part::Found(found) = part else { panic!("a leaf is broken") };
            ids.insert(found.leaf(&tenant.parse().unwrap(), &channel.parse().unwrap()).event.id.to_string());
        }
    }
    ids
}
