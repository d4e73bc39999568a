//! A command that was put off, as it goes on SEND.

use async_nats::HeaderMap;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use staffetta_bus::{Encoding, command_fields, encode_command};
use staffetta_domain::{CommandFields, CommandId, InvalidCommand, Object};
use staffetta_store::Scheduled;

/// The header of a command that was put off and is on SEND again.
pub(crate) const WAS_DUE: &str = "Staffetta-Was-Due";
/// Longest time that a command may wait for room in its lane, once it is due.
const MAX_AGE: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Whether a header of a command that is put off goes along. The server's own say where an entry stood, or tell the
/// server what to do with it: they were meant for the entry that the command had then.
pub(crate) fn is_kept(name: &str) -> bool {
    let is_servers = name.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("Nats-"));
    !is_servers && !name.eq_ignore_ascii_case(WAS_DUE)
}

/// What is published.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) headers: HeaderMap,
    /// Names the command: the entry's own message id does not.
    pub(super) payload: Bytes,
    over: Timestamp,
}

impl Entry {
    /// # Errors
    /// If the command can't be read.
    pub(super) fn of(command: &Scheduled) -> Result<Self, InvalidCommand> {
        let headers = headers(command);
        let encoding = Encoding::of(Some(&headers));
        let fields = command_fields(encoding, &command.payload)?;
        let oldest = command.due.checked_add(MAX_AGE).unwrap_or(Timestamp::MAX);
        let expires = fields.expires_at.as_deref().and_then(|at| at.parse::<Timestamp>().ok());
        let over = expires.map_or(oldest, |expires| expires.min(oldest));
        let payload = match &fields.id {
            Some(_) => command.payload.clone().into(),
            None => named(encoding, &command.payload, fields, &command.id)?,
        };
        Ok(Self { headers, payload, over })
    }

    /// Whether the command must not be sent any more.
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        self.over <= now
    }
}

pub(super) fn headers(command: &Scheduled) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(WAS_DUE, command.due.to_string().as_str());
    for (name, value) in command.headers.iter().filter(|(name, _)| is_kept(name)) {
        headers.append(name.as_str(), value.as_str());
    }
    headers
}

/// The payload with the command's id in it.
fn named(
    encoding: Encoding,
    payload: &[u8],
    fields: CommandFields,
    id: &CommandId,
) -> Result<Bytes, InvalidCommand> {
    match encoding {
        Encoding::Protobuf => Ok(encode_command(&CommandFields { id: Some(id.to_string()), ..fields })),
        Encoding::Json => {
            let unreadable = |_| InvalidCommand::new("payload", "is not a JSON object");
            let mut object: Object = serde_json::from_slice(payload).map_err(unreadable)?;
            object.insert("id".into(), Value::from(id.as_str()));
            Ok(Value::Object(object).to_string().into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scheduled(headers: &[(&str, &str)], payload: impl Into<Vec<u8>>) -> Scheduled {
        Scheduled {
            tenant: "acme".parse().unwrap(),
            channel: "orders".parse().unwrap(),
            id: "known".parse().unwrap(),
            lane: staffetta_domain::Lane::Normal,
            user: "393480000001".into(),
            callback_data: None,
            due: "2026-11-21T09:30:00Z".parse().unwrap(),
            payload: payload.into(),
            headers: headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        }
    }

    const JSON: (&str, &str) = ("content-type", "application/json");

    #[test]
    fn what_is_meant_for_the_server_does_not_go_along() {
        for name in ["Nats-Msg-Id", "Nats-Expected-Last-Sequence", "nats-ttl", "NATS-Rollup", WAS_DUE] {
            assert!(!is_kept(name), "{name}");
        }
        for name in ["traceparent", "Content-Type", "Nats", "X-Nats-TTL", "Natsé-x", ""] {
            assert!(is_kept(name), "{name}");
        }
        let forged = [JSON, ("Nats-Expected-Stream", "OTHER"), (WAS_DUE, "x"), ("two", "1"), ("two", "2")];
        let headers = Entry::of(&scheduled(&forged, r#"{"id":"known"}"#)).unwrap().headers;
        assert_eq!(headers.get(WAS_DUE).unwrap().as_str(), "2026-11-21T09:30:00Z");
        assert_eq!(headers.get_all("two").count(), 2);
        assert!(headers.get("Nats-Expected-Stream").is_none());
    }

    #[test]
    fn a_payload_without_an_id_gets_the_command_s_and_any_other_stays_as_it_is() {
        let named = r#"{"id":"known", "to":"393480000001"}"#;
        assert_eq!(Entry::of(&scheduled(&[JSON], named)).unwrap().payload, named);
        for nameless in
            [r#"{"to":"393480000001","n":9007199254740993}"#, r#"{"id":null,"to":"393480000001"}"#]
        {
            let payload = Entry::of(&scheduled(&[JSON, ("Nats-Msg-Id", "other")], nameless)).unwrap().payload;
            let fields = command_fields(Encoding::Json, &payload).unwrap();
            assert_eq!((fields.id.as_deref(), fields.to.as_deref()), (Some("known"), Some("393480000001")));
            assert_eq!(nameless.contains("993"), fields.rest.contains_key("n"));
            assert!(fields.rest.get("n").is_none_or(|n| n.as_u64() == Some(9_007_199_254_740_993)));
        }
        let proto =
            encode_command(&CommandFields { to: Some("393480000001".into()), ..CommandFields::default() });
        let payload = Entry::of(&scheduled(&[], proto)).unwrap().payload;
        let fields = command_fields(Encoding::Protobuf, &payload).unwrap();
        assert_eq!((fields.id.as_deref(), fields.to.as_deref()), (Some("known"), Some("393480000001")));
    }

    #[test]
    fn a_command_is_over_when_it_expires_and_a_week_after_it_was_due() {
        let at = |time: &str| time.parse::<Timestamp>().unwrap();
        let entry = Entry::of(&scheduled(&[JSON], r#"{"expires_at":"2026-11-21T09:31:00Z"}"#)).unwrap();
        assert!(!entry.is_over(at("2026-11-21T09:30:59Z")) && entry.is_over(at("2026-11-21T09:31:00Z")));
        let entry = Entry::of(&scheduled(&[JSON], r#"{"expires_at":"2027-11-21T09:31:00Z"}"#)).unwrap();
        assert!(!entry.is_over(at("2026-11-28T09:29:59Z")) && entry.is_over(at("2026-11-28T09:30:00Z")));
    }

    #[test]
    fn one_that_cannot_be_read_says_so() {
        assert_eq!(Entry::of(&scheduled(&[JSON], "{")).unwrap_err().field, "payload");
    }
}
