//! Which events must be published one after the other.

use std::collections::HashMap;

use staffetta_store::Announcement;

/// Splits a batch into chains: within a chain order matters, between chains it doesn't. The events of one conversation
/// are one chain, in their order; an event of none is a chain of its own.
pub(crate) fn chains(announcements: &[Announcement]) -> Vec<Vec<&Announcement>> {
    let mut chains: Vec<Vec<&Announcement>> = Vec::new();
    let mut places = HashMap::new();
    for announcement in announcements {
        let place = match announcement.conversation {
            Some(conversation) => *places.entry(conversation).or_insert(chains.len()),
            None => chains.len(),
        };
        if place == chains.len() {
            chains.push(Vec::new());
        }
        chains[place].push(announcement);
    }
    chains
}

#[cfg(test)]
mod tests {
    use staffetta_domain::{ConversationId, Event, EventId, EventType, Object};
    use staffetta_store::OutboxPlace;

    use super::*;

    fn announcement(seq: i64, conversation: Option<&str>) -> Announcement {
        let event = Event {
            id: EventId::of(&[&seq.to_string()]),
            tenant: "acme".parse().unwrap(),
            channel: "acme-orders".parse().unwrap(),
            kind: EventType::MessageReceived,
            time: jiff::Timestamp::UNIX_EPOCH,
            subject: seq.to_string(),
            data: Object::new(),
            trace: None,
        };
        let conversation = conversation.map(|id| id.parse::<ConversationId>().unwrap());
        Announcement { place: OutboxPlace { batch: 1, seq }, conversation, event }
    }

    #[test]
    fn one_conversation_is_one_chain_and_an_event_of_none_follows_nobody() {
        let batch = [
            announcement(1, Some("c1")),
            announcement(2, Some("c2")),
            announcement(3, None),
            announcement(4, Some("c1")),
            announcement(5, None),
        ];
        let seqs: Vec<Vec<i64>> =
            chains(&batch).iter().map(|chain| chain.iter().map(|told| told.place.seq).collect()).collect();
        assert_eq!(seqs, [vec![1, 4], vec![2], vec![3], vec![5]]);
    }
}
