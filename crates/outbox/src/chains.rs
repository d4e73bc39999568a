//! Which events must be published one after the other.

use std::collections::HashMap;

use serde_json::Value;
use staffetta_domain::Event;
use staffetta_store::Announcement;

/// What names the other side of a conversation in an event's data, the most telling first.
const USER: [&str; 6] = ["group_id", "from", "user_id", "recipient", "recipient_user_id", "wamid"];

/// Splits a batch into chains: within a chain order matters, between chains it doesn't. The events of one conversation
/// are one chain, in their order.
pub(crate) fn chains(announcements: &[Announcement]) -> Vec<Vec<&Announcement>> {
    let mut chains: Vec<Vec<&Announcement>> = Vec::new();
    let mut places = HashMap::new();
    for announcement in announcements {
        let key = (&announcement.event.channel, conversation(&announcement.event));
        let place = *places.entry(key).or_insert(chains.len());
        if place == chains.len() {
            chains.push(Vec::new());
        }
        chains[place].push(announcement);
    }
    chains
}

fn conversation(event: &Event) -> &str {
    let text = |name: &&str| event.data.get(*name).and_then(Value::as_str).filter(|text| !text.is_empty());
    USER.iter().find_map(text).unwrap_or(&event.subject)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use staffetta_domain::{EventId, EventType};

    use super::*;

    fn announcement(seq: i64, channel: &str, data: Value) -> Announcement {
        let event = Event {
            id: EventId::of(&[&seq.to_string()]),
            tenant: "acme".parse().unwrap(),
            channel: channel.parse().unwrap(),
            kind: EventType::MessageReceived,
            time: jiff::Timestamp::UNIX_EPOCH,
            subject: seq.to_string(),
            data: data.as_object().unwrap().clone(),
        };
        Announcement { seq, event }
    }

    #[test]
    fn one_conversation_is_one_chain_whoever_speaks() {
        let batch = [
            announcement(1, "a", json!({"from": "39"})),
            announcement(2, "a", json!({"from": "44"})),
            announcement(3, "a", json!({"recipient": "39"})),
            announcement(4, "b", json!({"from": "39"})),
            announcement(5, "a", json!({})),
        ];
        let seqs: Vec<Vec<i64>> =
            chains(&batch).iter().map(|chain| chain.iter().map(|a| a.seq).collect()).collect();
        assert_eq!(seqs, [vec![1, 3], vec![2], vec![4], vec![5]]);
    }
}
