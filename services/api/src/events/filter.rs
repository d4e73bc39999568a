//! Which events a client wants.

use staffetta_domain::{ChannelId, Event, EventType};

use crate::query::{InvalidParameter, Parameters};

/// Most channels or types that one request may name.
const MOST: usize = 50;

/// Which events a client wants: all of those named, and all where none is named.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    channels: Vec<ChannelId>,
    types: Vec<EventType>,
}

impl Filter {
    /// Takes it from `channel` and `type`.
    pub(super) fn of(parameters: &mut Parameters) -> Result<Self, InvalidParameter> {
        let mut filter = Self::default();
        for name in list(parameters, "channel")? {
            let channel = name.parse();
            filter.channels.push(
                channel
                    .map_err(|_| InvalidParameter::new("channel", "must be a channel's id, or several"))?,
            );
        }
        for name in list(parameters, "type")? {
            let before = filter.types.len();
            filter.types.extend(EventType::ALL.into_iter().filter(|kind| is_of(*kind, &name)));
            if filter.types.len() == before {
                let problem = "names a type that there is not; one is like message.received, or message.*";
                return Err(InvalidParameter::new("type", problem));
            }
        }
        Ok(filter)
    }

    /// Whether the event is wanted.
    pub(super) fn takes(&self, event: &Event) -> bool {
        (self.channels.is_empty() || self.channels.contains(&event.channel))
            && (self.types.is_empty() || self.types.contains(&event.kind))
    }
}

/// What stands between the commas of a parameter.
fn list(parameters: &mut Parameters, name: &str) -> Result<Vec<String>, InvalidParameter> {
    let Some(text) = parameters.take(name) else { return Ok(Vec::new()) };
    let parts: Vec<String> = text.split(',').map(|part| part.trim().to_owned()).collect();
    match parts.len() {
        0..=MOST => Ok(parts),
        _ => Err(InvalidParameter::new(name, format!("names more than {MOST}"))),
    }
}

/// Whether a type is, or begins as, a filter says, with or without `staffetta.`
fn is_of(kind: EventType, wanted: &str) -> bool {
    let short = |name: &str| name.strip_prefix("staffetta.").unwrap_or(name).to_owned();
    let (name, wanted) = (short(kind.as_str()), short(wanted));
    match wanted.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == wanted,
    }
}

#[cfg(test)]
mod tests {
    use axum::extract::Query;
    use jiff::Timestamp;
    use staffetta_domain::{EventId, Object};

    use super::*;

    fn filter(pairs: &[(&str, &str)]) -> Result<Filter, String> {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let mut parameters = Parameters::of(Ok(Query(pairs.collect())), &["channel", "type"]).ok().unwrap();
        Filter::of(&mut parameters).map_err(|invalid| invalid.name)
    }

    fn event(channel: &str, kind: EventType) -> Event {
        Event {
            id: EventId::of(&["x"]),
            tenant: "acme".parse().unwrap(),
            channel: channel.parse().unwrap(),
            kind,
            time: Timestamp::UNIX_EPOCH,
            subject: String::new(),
            data: Object::new(),
            trace: None,
        }
    }

    #[test]
    fn events_are_chosen_by_channel_and_type() {
        let received = event("orders", EventType::MessageReceived);
        let failed = event("bills", EventType::CommandFailed);
        for (pairs, takes) in [
            (&[][..], [true, true]),
            (&[("channel", "orders")], [true, false]),
            (&[("channel", "orders, bills")], [true, true]),
            (&[("type", "message.*")], [true, false]),
            (&[("type", "staffetta.message.received,command.failed")], [true, true]),
            (&[("type", "*"), ("channel", "bills")], [false, true]),
            (&[("type", "message.*"), ("channel", "bills")], [false, false]),
        ] {
            let filter = filter(pairs).unwrap();
            assert_eq!([filter.takes(&received), filter.takes(&failed)], takes, "{pairs:?}");
        }
    }

    #[test]
    fn what_no_event_could_ever_be_is_refused() {
        for (pair, name) in [
            (("type", "message"), "type"),
            (("type", "message.received,"), "type"),
            (("type", ""), "type"),
            (("channel", "a.b"), "channel"),
            (("channel", ""), "channel"),
        ] {
            assert_eq!(filter(&[pair]).unwrap_err(), name, "{pair:?}");
        }
        assert_eq!(filter(&[("channel", &"a,".repeat(60))]).unwrap_err(), "channel");
    }
}
