//! Bodies as Meta sends them: messages of users, statuses of messages sent to users, and a few other things. The same
//! ones for the same seed, one after the other, however many.

use std::collections::VecDeque;

use bytes::Bytes;
use rand::{Rng, SeedableRng, rngs::SmallRng};
use serde_json::{Value, json};

use super::population::{Population, number, number_id, phone, waba};

/// Leaves in one body at most.
pub(super) const MOST_LEAVES: usize = 10;
/// Messages on the way at a time, on each channel: what was sent before them has been read.
const ON_THE_WAY: usize = 64;
/// Leaves a second by the provider's clock, which goes by what was made and not by the wall.
const LEAVES_A_SECOND: u64 = 250;

/// A webhook's body.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) json: Bytes,
    pub(super) leaves: usize,
}

/// A message that the channel sent and whose statuses are coming.
#[derive(Debug)]
struct Outgoing {
    wamid: String,
    user: usize,
    /// Its next status.
    step: usize,
}

const STEPS: [&str; 3] = ["sent", "delivered", "read"];

/// Makes bodies.
#[derive(Debug)]
pub(super) struct Webhooks {
    population: Population,
    random: SmallRng,
    /// The Unix second of the first leaf.
    start: u64,
    made: u64,
    /// Of each channel.
    outgoing: Vec<VecDeque<Outgoing>>,
}

/// The leaves of a body, as the lists they stand in.
#[derive(Debug, Default)]
struct Lists {
    contacts: Vec<Value>,
    messages: Vec<Value>,
    statuses: Vec<Value>,
    calls: Vec<Value>,
    preferences: Vec<Value>,
}

impl Webhooks {
    /// Ids of two makers are different if their seeds are.
    pub(super) fn new(population: Population, seed: u64, start: u64) -> Self {
        Self {
            population,
            random: SmallRng::seed_from_u64(seed),
            start,
            made: 0,
            outgoing: (0..population.channels).map(|_| VecDeque::new()).collect(),
        }
    }

    /// The next body, of `most` leaves at the most, all of one channel.
    pub(super) fn next(&mut self, most: usize) -> Body {
        let leaves = self.random.random_range(1..=most.min(MOST_LEAVES));
        let channel = self.random.random_range(0..self.population.channels);
        let mut lists = Lists::default();
        for _ in 0..leaves {
            // A message for three statuses, and a few leaves of other kinds.
            match self.random.random_range(0..1_000) {
                0..243 => self.add_message(channel, &mut lists),
                243..970 => self.add_status(channel, &mut lists),
                970..980 => self.add_failure(channel, &mut lists),
                980..990 => self.add_call(channel, &mut lists),
                _ => self.add_preference(channel, &mut lists),
            }
        }
        Body { json: lists.into_body(channel), leaves }
    }

    /// A body with one message, and the message's id.
    pub(super) fn next_message(&mut self) -> (Bytes, String) {
        let channel = self.random.random_range(0..self.population.channels);
        let user = self.user(channel);
        let wamid = self.wamid(user);
        let text = self.text();
        let mut lists = Lists::default();
        lists.contacts.push(contact(user));
        lists.messages.push(json!({
            "from": phone(user), "id": wamid, "timestamp": self.second(), "type": "text", "text": { "body": text },
        }));
        (lists.into_body(channel), wamid)
    }

    fn add_message(&mut self, channel: usize, lists: &mut Lists) {
        let user = self.user(channel);
        let mut message = match self.random.random_range(0..100) {
            0..80 => json!({ "type": "text", "text": { "body": self.text() } }),
            80..90 => json!({ "type": "image", "image": {
                "caption": "Foto", "mime_type": "image/jpeg", "sha256": self.hex(43), "id": self.digits(),
            } }),
            90..95 => {
                json!({ "type": "reaction", "reaction": { "message_id": self.wamid(user), "emoji": "\u{1f44d}" } })
            }
            95..98 => json!({
                "type": "interactive", "context": { "from": number(channel), "id": self.wamid(user) },
                "interactive": { "type": "button_reply", "button_reply": { "id": "yes", "title": "S\u{ec}" } },
            }),
            _ => json!({ "type": "location", "location": {
                "latitude": 45.4642, "longitude": 9.19, "name": "Ufficio", "address": "Via Dante 1, Milano",
            } }),
        };
        message["from"] = phone(user).into();
        message["id"] = self.wamid(user).into();
        message["timestamp"] = self.second().into();
        lists.contacts.push(contact(user));
        lists.messages.push(message);
    }

    /// The next step of a message on the way, or the first of another one.
    fn add_status(&mut self, channel: usize, lists: &mut Lists) {
        let waiting = self.outgoing[channel].len();
        let another = waiting == 0 || waiting < ON_THE_WAY && self.random.random_range(0..3) == 0;
        let next = if another { None } else { self.outgoing[channel].pop_front() };
        let mut message = match next {
            Some(message) => message,
            None => {
                let user = self.user(channel);
                Outgoing { wamid: self.wamid(user), user, step: 0 }
            }
        };
        let mut status = self.status(&message.wamid, STEPS[message.step], message.user);
        if message.step < 2 {
            status["pricing"] =
                json!({ "billable": true, "pricing_model": "PMP", "type": "regular", "category": "utility" });
        }
        lists.statuses.push(status);
        message.step += 1;
        if message.step < STEPS.len() {
            self.outgoing[channel].push_back(message);
        }
    }

    fn add_failure(&mut self, channel: usize, lists: &mut Lists) {
        let user = self.user(channel);
        let wamid = self.wamid(user);
        let mut status = self.status(&wamid, "failed", user);
        status["errors"] = json!([{
            "code": 131026, "title": "Message undeliverable", "message": "Message undeliverable",
            "error_data": { "details": "Message Undeliverable." },
        }]);
        lists.statuses.push(status);
    }

    fn add_call(&mut self, channel: usize, lists: &mut Lists) {
        let user = self.user(channel);
        lists.calls.push(json!({
            "id": format!("wacid.{}", self.hex(48)), "from": phone(user), "to": number(channel), "event": "connect",
            "timestamp": self.second(), "direction": "USER_INITIATED",
        }));
    }

    fn add_preference(&mut self, channel: usize, lists: &mut Lists) {
        let user = self.user(channel);
        // The id keeps two alike apart, if the same user changes it twice within a second.
        lists.preferences.push(json!({
            "wa_id": phone(user), "detail": "User requested to stop marketing messages",
            "category": "marketing_messages", "value": "stop", "signup_id": self.digits(),
            "timestamp": self.start + self.made / LEAVES_A_SECOND,
        }));
    }

    fn status(&mut self, wamid: &str, status: &str, user: usize) -> Value {
        json!({ "id": wamid, "status": status, "timestamp": self.second(), "recipient_id": phone(user) })
    }

    fn user(&mut self, channel: usize) -> usize {
        let n = self.random.random_range(0..self.population.users);
        self.population.user_of(channel, n)
    }

    /// The provider's time as it stands in a leaf.
    fn second(&mut self) -> String {
        self.made += 1;
        (self.start + self.made / LEAVES_A_SECOND).to_string()
    }

    /// As long as they mostly are, and never the same twice.
    fn wamid(&mut self, user: usize) -> String {
        format!("wamid.HBgM{user:08}FQIAEhgU{}AA==", self.hex(32))
    }

    fn hex(&mut self, digits: usize) -> String {
        format!("{:032X}{:032X}", self.random.random::<u128>(), self.random.random::<u128>())[..digits]
            .to_owned()
    }

    fn digits(&mut self) -> String {
        format!("{:020}", self.random.random::<u64>())
    }

    fn text(&mut self) -> String {
        const WORDS: [&str; 8] =
            ["buongiorno", "vorrei", "sapere", "quando", "arriva", "il", "mio", "ordine"];
        let words = self.random.random_range(1..24);
        (0..words).map(|n| WORDS[n % WORDS.len()]).collect::<Vec<_>>().join(" ")
    }
}

impl Lists {
    fn into_body(self, channel: usize) -> Bytes {
        let Self { contacts, messages, statuses, calls, preferences } = self;
        let mut changes = Vec::new();
        let mut add = |field: &str, list: &str, leaves: Vec<Value>, contacts: Vec<Value>| {
            if leaves.is_empty() {
                return;
            }
            let mut value = json!({
                "messaging_product": "whatsapp",
                "metadata": { "display_phone_number": number(channel), "phone_number_id": number_id(channel) },
            });
            value[list] = leaves.into();
            if !contacts.is_empty() {
                value["contacts"] = contacts.into();
            }
            changes.push(json!({ "field": field, "value": value }));
        };
        add("messages", "messages", messages, contacts);
        add("messages", "statuses", statuses, Vec::new());
        add("calls", "calls", calls, Vec::new());
        add("user_preferences", "user_preferences", preferences, Vec::new());
        let entry = json!([{ "id": waba(channel), "changes": changes }]);
        json!({ "object": "whatsapp_business_account", "entry": entry }).to_string().into()
    }
}

fn contact(user: usize) -> Value {
    json!({ "profile": { "name": format!("Giulia Bianchi {user}") }, "wa_id": phone(user) })
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    const POPULATION: Population = Population { tenants: 2, channels: 3, users: 100 };

    fn leaves(count: usize, seed: u64) -> Vec<(String, Value)> {
        let mut webhooks = Webhooks::new(POPULATION, seed, 1_700_000_000);
        let mut found = Vec::new();
        while found.len() < count {
            let body = webhooks.next(count - found.len());
            let before = found.len();
            let body_value: Value = serde_json::from_slice(&body.json).unwrap();
            for change in body_value["entry"][0]["changes"].as_array().unwrap() {
                for list in ["messages", "statuses", "calls", "user_preferences"] {
                    let leaves = change["value"].get(list).and_then(Value::as_array);
                    found.extend(leaves.into_iter().flatten().map(|leaf| (list.to_owned(), leaf.clone())));
                }
            }
            assert_eq!(found.len() - before, body.leaves);
        }
        found
    }

    #[test]
    fn there_are_three_statuses_for_a_message_and_no_leaf_twice() {
        let all = leaves(20_000, 1);
        let mut counts = BTreeMap::<&str, usize>::new();
        all.iter().for_each(|(list, _)| *counts.entry(list.as_str()).or_default() += 1);
        let ratio = counts["statuses"] as f64 / counts["messages"] as f64;
        assert!((2.8..3.2).contains(&ratio), "{counts:?}");
        let different: BTreeSet<_> = all.iter().map(|(_, leaf)| leaf.to_string()).collect();
        assert_eq!(different.len(), all.len());
    }

    #[test]
    fn statuses_go_their_way_and_most_arrive() {
        let mut steps = BTreeMap::<String, Vec<String>>::new();
        for (list, leaf) in leaves(20_000, 2) {
            let text = |name: &str| leaf[name].as_str().unwrap().to_owned();
            if list == "statuses" && text("status") != "failed" {
                steps.entry(text("id")).or_default().push(text("status"));
            }
        }
        let whole = steps.values().filter(|steps| steps.len() == 3).count();
        assert!(steps.values().all(|steps| steps[..] == STEPS[..steps.len()]));
        assert!(whole * 10 > steps.len() * 9, "{whole} of {}", steps.len());
    }

    #[test]
    fn the_same_seed_makes_the_same_bodies() {
        assert_eq!(leaves(100, 3), leaves(100, 3));
        assert_ne!(leaves(100, 3), leaves(100, 4));
    }
}
