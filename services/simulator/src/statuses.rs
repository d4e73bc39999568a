//! The statuses that follow an accepted send.

use rand::rngs::SmallRng;
use rand::seq::SliceRandom as _;

use crate::chance::happens;
use crate::graph_error::GraphError;
use crate::options::{Behaviour, StatusKind};
use crate::validate::{Recipient, Send};
use crate::webhooks::{Pricing, Status};

/// What becomes of an accepted message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The user gets it, at this price.
    Arrives(Pricing),
    /// A `failed` status is all that follows.
    Fails(GraphError),
}

/// The statuses of one send, each with its milliseconds from acceptance to the first attempt to tell it.
/// `now` is Unix time in milliseconds. Every probability is drawn for every send.
pub(crate) fn plan(
    send: &Send,
    wamid: &str,
    fate: &Fate,
    behaviour: &Behaviour,
    now: u64,
    rng: &mut SmallRng,
) -> Vec<(u64, Status)> {
    let (skip_delivered, skip_read) =
        (happens(rng, behaviour.skip_delivered), happens(rng, behaviour.skip_read));
    let reorder = happens(rng, behaviour.reorder);
    let delays = behaviour.delays;
    let pricing = match fate {
        Fate::Arrives(pricing) => *pricing,
        Fate::Fails(error) => {
            let mut failed = status(send, wamid, "failed", now + delays.sent_ms);
            failed.errors.push(error.in_status());
            return vec![(delays.sent_ms, failed)];
        }
    };
    let mut kinds = behaviour.statuses.clone();
    kinds.sort_unstable();
    kinds.dedup();
    // A reaction is never reported as delivered or read.
    kinds.retain(|kind| match kind {
        StatusKind::Sent => true,
        StatusKind::Delivered => !skip_delivered && send.kind != "reaction",
        StatusKind::Read => !skip_read && send.kind != "reaction",
    });
    let delay = |kind| match kind {
        StatusKind::Sent => delays.sent_ms,
        StatusKind::Delivered => delays.delivered_ms,
        StatusKind::Read => delays.read_ms,
    };
    let mut told: Vec<u64> = kinds.iter().map(|&kind| delay(kind)).collect();
    if reorder {
        shuffle(&mut told, rng);
    }
    let priced_later = kinds.iter().copied().find(|kind| *kind != StatusKind::Sent);
    let plan = kinds.iter().zip(told).map(|(&kind, told)| {
        let name = match kind {
            StatusKind::Sent => "sent",
            StatusKind::Delivered => "delivered",
            StatusKind::Read => "read",
        };
        let mut status = status(send, wamid, name, now + delay(kind));
        // The price stands on `sent` and on one of the others.
        status.pricing = (kind == StatusKind::Sent || Some(kind) == priced_later).then_some(pricing);
        (told, status)
    });
    plan.collect()
}

/// Shuffles until the order is another one, if there can be one.
fn shuffle(told: &mut [u64], rng: &mut SmallRng) {
    let before = told.to_vec();
    told.shuffle(rng);
    if told == before && told.len() > 1 {
        told.rotate_left(1);
    }
}

fn status(send: &Send, wamid: &str, name: &'static str, at_ms: u64) -> Status {
    let (recipient_id, recipient_user_id) = match &send.to {
        Recipient::Phone(phone) => (Some(phone.clone()), None),
        Recipient::User(user) => (None, Some(user.clone())),
    };
    Status {
        id: wamid.to_owned(),
        status: name,
        timestamp: (at_ms / 1000).to_string(),
        recipient_id,
        recipient_user_id,
        biz_opaque_callback_data: send.callback_data.clone(),
        pricing: None,
        errors: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::{Purpose, generator};
    use crate::validate::{Request, parse};

    const ARRIVES: Fate = Fate::Arrives(Pricing {
        billable: false,
        pricing_model: "PMP",
        kind: "free_customer_service",
        category: "service",
    });

    fn planned(behaviour: &Behaviour, fate: &Fate, kind: &str) -> Vec<(u64, String)> {
        let body = match kind {
            "reaction" => {
                r#"{"messaging_product":"whatsapp","to":"+393481213456","type":"reaction","reaction":{"message_id":"wamid.B","emoji":""}}"#
            }
            _ => r#"{"messaging_product":"whatsapp","to":"+393481213456","text":{"body":"x"}}"#,
        };
        let Ok(Request::Send(send)) = parse(body.as_bytes()) else { panic!("the body is a send") };
        let mut rng = generator(3, "100", Purpose::Send, 1);
        let mut plan = plan(&send, "wamid.A", fate, behaviour, 0, &mut rng);
        plan.sort_by_key(|(delay, _)| *delay);
        plan.into_iter().map(|(delay, status)| (delay, status.status.to_owned())).collect()
    }

    #[test]
    fn a_message_is_sent_delivered_and_read() {
        let plan = planned(&Behaviour::default(), &ARRIVES, "text");
        assert_eq!(plan, [(20, "sent".to_owned()), (60, "delivered".to_owned()), (120, "read".to_owned())]);
    }

    #[test]
    fn disorder_comes_as_asked_for() {
        let shuffled = Behaviour { reorder: 1.0, ..Behaviour::default() };
        let plan = planned(&shuffled, &ARRIVES, "text");
        assert_eq!(plan, planned(&shuffled, &ARRIVES, "text"), "the same seed, the same order");
        let names: Vec<&str> = plan.iter().map(|(_, name)| name.as_str()).collect();
        assert_ne!(names, ["sent", "delivered", "read"]);
        let open_chat = Behaviour { skip_delivered: 1.0, ..Behaviour::default() };
        assert_eq!(planned(&open_chat, &ARRIVES, "text").len(), 2);
        assert_eq!(planned(&Behaviour::default(), &ARRIVES, "reaction"), [(20, "sent".to_owned())]);
        let fate = Fate::Fails(GraphError::of(131_026));
        assert_eq!(planned(&Behaviour::default(), &fate, "text"), [(20, "failed".to_owned())]);
    }
}
