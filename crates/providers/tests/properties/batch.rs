//! Bodies of leaves.

use rand::rngs::SmallRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use crate::dress::{Dress, Node};
use crate::leaf::{Item, Leaf, Stand};

/// The body that holds that leaf alone, plainly written.
pub(crate) fn alone(leaf: &Leaf) -> String {
    let mut rng = SmallRng::seed_from_u64(0);
    Dress::plain().write(&envelope(vec![entry(&[vec![leaf]], &mut rng)]))
}

/// A body that holds them all: in one of many orders, in as many entries and changes as it happens, in one of many
/// ways of writing.
pub(crate) fn body(leaves: &[Leaf], layout: u64) -> String {
    let mut rng = SmallRng::seed_from_u64(layout);
    let mut order: Vec<&Leaf> = leaves.iter().collect();
    order.shuffle(&mut rng);
    let changes = grouped(order, may_share_change, &mut rng);
    let entries = grouped(changes, |one, other| may_share_entry(one[0], other[0]), &mut rng);
    let entries = entries.iter().map(|changes| entry(changes, &mut rng)).collect();
    Dress::of_seed(layout).write(&envelope(entries))
}

/// Each joins one of those that it may join, or none.
fn grouped<T>(items: Vec<T>, may_share: impl Fn(&T, &T) -> bool, rng: &mut SmallRng) -> Vec<Vec<T>> {
    let mut groups: Vec<Vec<T>> = Vec::new();
    for item in items {
        let fit: Vec<usize> =
            (0..groups.len()).filter(|group| may_share(&groups[*group][0], &item)).collect();
        match fit.choose(rng).filter(|_| rng.random_ratio(2, 3)) {
            Some(group) => groups[*group].push(item),
            None => groups.push(vec![item]),
        }
    }
    groups
}

fn may_share_change(one: &&Leaf, other: &&Leaf) -> bool {
    let stands_alone = |leaf: &Leaf| matches!(leaf.stand, Stand::Value | Stand::Change | Stand::Entry);
    may_share_entry(one, other)
        && !stands_alone(one)
        && !stands_alone(other)
        && one.field == other.field
        && one.number == other.number
}

fn may_share_entry(one: &Leaf, other: &Leaf) -> bool {
    let is_entry = |leaf: &Leaf| leaf.stand == Stand::Entry;
    !is_entry(one) && !is_entry(other) && one.account == other.account && one.time == other.time
}

fn envelope(entries: Vec<Node>) -> Node {
    object([("object", Node::Plain(json!("whatsapp_business_account"))), ("entry", Node::List(entries))])
}

fn entry(changes: &[Vec<&Leaf>], rng: &mut SmallRng) -> Node {
    let first = changes[0][0];
    if first.stand == Stand::Entry {
        return item(first);
    }
    let mut fields = vec![("id", Node::Plain(text_or_number(1_029_384_756 + first.account as u64, rng)))];
    fields.extend(first.time.map(|time| ("time", Node::Plain(json!(time)))));
    fields.push(("changes", Node::List(changes.iter().map(|leaves| change(leaves, rng)).collect())));
    object(fields)
}

fn change(leaves: &[&Leaf], rng: &mut SmallRng) -> Node {
    let first = leaves[0];
    let value = match first.stand {
        Stand::Change => return item(first),
        Stand::Value => item(first),
        _ => value(leaves, rng),
    };
    object([("field", Node::Plain(json!(first.field))), ("value", value)])
}

fn value(leaves: &[&Leaf], rng: &mut SmallRng) -> Node {
    let mut fields = vec![("messaging_product", Node::Plain(json!("whatsapp")))];
    if let Some(number) = leaves[0].number {
        let id = text_or_number(106_540_352_242_920 + number as u64, rng);
        let metadata = json!({"display_phone_number": "39020202", "phone_number_id": id});
        fields.push(("metadata", Node::Plain(metadata)));
    }
    let mut contacts: Vec<&Value> = Vec::new();
    for contact in leaves.iter().filter_map(|leaf| leaf.contact.as_ref()) {
        if !contacts.contains(&contact) {
            contacts.push(contact);
        }
    }
    if !contacts.is_empty() {
        contacts.shuffle(rng);
        fields.push(("contacts", Node::Plain(json!(contacts))));
    }
    let mut lists: Vec<&'static str> = leaves.iter().filter_map(|leaf| list(leaf)).collect();
    lists.sort_unstable();
    lists.dedup();
    for name in lists {
        let items = leaves.iter().filter(|leaf| list(leaf) == Some(name)).map(|leaf| item(leaf)).collect();
        fields.push((name, Node::List(items)));
    }
    let chunks = chunks(leaves, rng);
    if !chunks.is_empty() {
        fields.push(("history", Node::List(chunks)));
    }
    object(fields)
}

fn list(leaf: &Leaf) -> Option<&'static str> {
    match leaf.stand {
        Stand::List(name) => Some(name),
        _ => None,
    }
}

/// The items of `history`, each with the threads that the leaves belong to.
fn chunks(leaves: &[&Leaf], rng: &mut SmallRng) -> Vec<Node> {
    let of_history = leaves.iter().copied().filter(|leaf| chunk(leaf).is_some()).collect();
    let is_error = |leaf: &Leaf| matches!(leaf.stand, Stand::ChunkErrors { .. });
    let chunks = grouped(
        of_history,
        |one: &&Leaf, other: &&Leaf| chunk(one) == chunk(other) && is_error(one) == is_error(other),
        rng,
    );
    let node = |leaves: Vec<&Leaf>, rng: &mut SmallRng| {
        let chunk = chunk(leaves[0]).unwrap_or_default();
        let metadata = json!({"phase": chunk, "chunk_order": chunk + 1, "progress": 10 * chunk});
        let rest = if is_error(leaves[0]) {
            ("errors", Node::List(leaves.into_iter().map(item).collect()))
        } else {
            let threads = grouped(leaves, |one: &&Leaf, other: &&Leaf| one.stand == other.stand, rng);
            ("threads", Node::List(threads.iter().map(|leaves| thread(leaves)).collect()))
        };
        object([("metadata", Node::Plain(metadata)), rest])
    };
    chunks.into_iter().map(|leaves| node(leaves, rng)).collect()
}

fn chunk(leaf: &Leaf) -> Option<u64> {
    match leaf.stand {
        Stand::Thread { chunk, .. } | Stand::ChunkErrors { chunk } => Some(chunk),
        _ => None,
    }
}

fn thread(leaves: &[&Leaf]) -> Node {
    let id = match &leaves[0].stand {
        Stand::Thread { thread, .. } => thread.as_str(),
        _ => "",
    };
    object([
        ("id", Node::Plain(json!(id))),
        ("messages", Node::List(leaves.iter().map(|leaf| item(leaf)).collect())),
    ])
}

fn item(leaf: &Leaf) -> Node {
    match &leaf.item {
        Item::Good(value) => Node::Plain(value.clone()),
        Item::Raw(text) => Node::Raw(text.clone()),
    }
}

fn text_or_number(id: u64, rng: &mut SmallRng) -> Value {
    if rng.random() { json!(id) } else { json!(id.to_string()) }
}

fn object(fields: impl IntoIterator<Item = (&'static str, Node)>) -> Node {
    Node::Object(fields.into_iter().map(|(name, node)| (name.to_owned(), node)).collect())
}
