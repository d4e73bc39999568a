//! Commands, events and dead letters, between their domain types and the bytes of a message.

use async_nats::HeaderMap;
use bytes::Bytes;
use jiff::Timestamp;
use prost::Message as _;
use serde_json::Value;
use staffetta_domain::{
    ChannelId, CommandFields, CommandId, Event, EventId, EventType, InvalidCommand, Object, TenantId,
    TraceParent,
};
use staffetta_proto::json::{from_list, from_struct, from_timestamp, to_list, to_struct, to_timestamp};
use staffetta_proto::v1;

/// How a message's payload is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// Protocol Buffers.
    #[default]
    Protobuf,
    /// JSON with the same fields.
    Json,
}

impl Encoding {
    /// The header `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/protobuf",
            Self::Json => "application/json",
        }
    }

    /// What a message's headers say: JSON where they name it, Protocol Buffers otherwise.
    pub fn of(headers: Option<&HeaderMap>) -> Self {
        let named = headers.and_then(|headers| {
            headers
                .iter()
                .find(|(name, _)| name.to_string().eq_ignore_ascii_case("content-type"))?
                .1
                .first()
                .cloned()
        });
        named.map_or(Self::Protobuf, |value| Self::of_content_type(value.as_str()))
    }

    /// What a `Content-Type` says: JSON where it names it, Protocol Buffers otherwise.
    pub(crate) fn of_content_type(named: &str) -> Self {
        if named.trim().to_ascii_lowercase().starts_with("application/json") {
            Self::Json
        } else {
            Self::Protobuf
        }
    }
}

/// A payload that can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CodecError(&'static str);

/// Reads a command. Its fields are not checked yet.
///
/// # Errors
/// Names `payload`, or the field whose type is wrong.
pub fn command_fields(encoding: Encoding, payload: &[u8]) -> Result<CommandFields, InvalidCommand> {
    match encoding {
        Encoding::Json => json_command(payload),
        Encoding::Protobuf => {
            let command = v1::SendCommand::decode(payload)
                .map_err(|_| InvalidCommand::new("payload", "is not a staffetta.v1.SendCommand"))?;
            Ok(proto_command(command))
        }
    }
}

/// Texts that must be texts: serde's own message would show a value, and that may be personal data.
const TEXTS: [&str; 9] =
    ["id", "to", "type", "reply_to", "lane", "send_at", "expires_at", "window_policy", "callback_data"];

fn json_command(payload: &[u8]) -> Result<CommandFields, InvalidCommand> {
    let object: Object = serde_json::from_slice(payload)
        .map_err(|_| InvalidCommand::new("payload", "is not a JSON object with distinct fields"))?;
    for field in TEXTS {
        if object.get(field).is_some_and(|value| !value.is_string() && !value.is_null()) {
            return Err(InvalidCommand::new(field, "must be a text"));
        }
    }
    serde_json::from_value(Value::Object(object))
        .map_err(|_| InvalidCommand::new("payload", "is not a command"))
}

fn proto_command(command: v1::SendCommand) -> CommandFields {
    let text = |value: String| (!value.is_empty()).then_some(value);
    let time = |value: Option<prost_types::Timestamp>| {
        value.map(|value| {
            from_timestamp(&value).map_or_else(|| "out of range".into(), |time| time.to_string())
        })
    };
    let mut rest = Object::new();
    let objects = [
        ("text", command.text),
        ("template", command.template),
        ("image", command.image),
        ("audio", command.audio),
        ("video", command.video),
        ("document", command.document),
        ("sticker", command.sticker),
        ("interactive", command.interactive),
        ("location", command.location),
        ("reaction", command.reaction),
    ];
    for (name, object) in objects {
        if let Some(object) = object {
            rest.insert(name.into(), Value::Object(from_struct(object)));
        }
    }
    if let Some(people) = command.contacts {
        rest.insert("contacts".into(), Value::Array(from_list(people)));
    }
    CommandFields {
        id: text(command.id),
        to: text(command.to),
        kind: text(command.r#type),
        reply_to: text(command.reply_to),
        lane: text(command.lane),
        send_at: time(command.send_at),
        expires_at: time(command.expires_at),
        window_policy: text(command.window_policy),
        callback_data: text(command.callback_data),
        rest,
    }
}

/// Writes a command as Protocol Buffers.
pub fn encode_command(fields: &CommandFields) -> Bytes {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let time = |value: &Option<String>| value.as_ref()?.parse().ok().map(to_timestamp);
    let object = |name: &str| fields.rest.get(name)?.as_object().map(to_struct);
    let command = v1::SendCommand {
        id: text(&fields.id),
        to: text(&fields.to),
        r#type: text(&fields.kind),
        text: object("text"),
        template: object("template"),
        image: object("image"),
        audio: object("audio"),
        video: object("video"),
        document: object("document"),
        sticker: object("sticker"),
        interactive: object("interactive"),
        location: object("location"),
        contacts: fields.rest.get("contacts").and_then(Value::as_array).map(|items| to_list(items)),
        reaction: object("reaction"),
        reply_to: text(&fields.reply_to),
        lane: text(&fields.lane),
        send_at: time(&fields.send_at),
        expires_at: time(&fields.expires_at),
        window_policy: text(&fields.window_policy),
        callback_data: text(&fields.callback_data),
    };
    command.encode_to_vec().into()
}

/// Where a message's trace stands in its headers: W3C Trace Context.
pub const TRACEPARENT: &str = "traceparent";

/// The trace that a message belongs to. One that can't be read is none.
pub fn trace_of(headers: Option<&HeaderMap>) -> Option<TraceParent> {
    headers?.get(TRACEPARENT)?.as_str().parse().ok()
}

/// An event as a JSON document.
#[derive(serde::Serialize)]
struct EventDocument<'a> {
    specversion: &'static str,
    id: &'a str,
    source: String,
    r#type: &'static str,
    time: String,
    subject: &'a str,
    datacontenttype: &'static str,
    data: &'a Object,
}

/// An event's headers and payload: CloudEvents attributes in `ce-…`, and the whole event as its tenant reads it.
pub fn event_message(event: &Event, encoding: Encoding) -> (HeaderMap, Bytes) {
    let mut headers = HeaderMap::new();
    headers.insert("Content-Type", encoding.content_type());
    headers.insert("ce-specversion", "1.0");
    headers.insert("ce-id", event.id.as_str());
    headers.insert("ce-source", event.source().as_str());
    headers.insert("ce-type", event.kind.as_str());
    headers.insert("ce-time", event.time.to_string().as_str());
    // A header holds one line.
    if !event.subject.contains(['\r', '\n']) {
        headers.insert("ce-subject", event.subject.as_str());
    }
    if let Some(trace) = event.trace {
        headers.insert(TRACEPARENT, trace.to_string().as_str());
    }
    // CloudEvents' own extensions for the order within a partition.
    if let (Some(Value::String(conversation)), Some(sequence)) =
        (event.data.get("conversation_id"), event.data.get("sequence").and_then(Value::as_i64))
    {
        headers.insert("ce-partitionkey", conversation.as_str());
        headers.insert("ce-sequence", sequence.to_string().as_str());
    }
    let payload = match encoding {
        Encoding::Json => {
            let document = EventDocument {
                specversion: "1.0",
                id: event.id.as_str(),
                source: event.source(),
                r#type: event.kind.as_str(),
                time: event.time.to_string(),
                subject: &event.subject,
                datacontenttype: "application/json",
                data: &event.data,
            };
            serde_json::to_vec(&document).expect("an object of JSON values is JSON").into()
        }
        Encoding::Protobuf => v1::Event {
            id: event.id.as_str().into(),
            source: event.source(),
            r#type: event.kind.as_str().into(),
            time: Some(to_timestamp(event.time)),
            subject: event.subject.clone(),
            data: Some(to_struct(&event.data)),
        }
        .encode_to_vec()
        .into(),
    };
    (headers, payload)
}

/// Reads an event that [`event_message`] wrote, but for its trace, which stands in the headers.
///
/// # Errors
/// If it is none, or of a type that this version does not know.
pub fn decode_event(encoding: Encoding, payload: &[u8]) -> Result<Event, CodecError> {
    const WRONG: CodecError = CodecError("not an event");
    let (id, source, kind, time, subject, data) = match encoding {
        Encoding::Protobuf => {
            let event = v1::Event::decode(payload).map_err(|_| WRONG)?;
            let time = event.time.as_ref().and_then(from_timestamp).ok_or(WRONG)?;
            let data = event.data.map(from_struct).unwrap_or_default();
            (event.id, event.source, event.r#type, time, event.subject, data)
        }
        Encoding::Json => {
            let mut event: Object = serde_json::from_slice(payload).map_err(|_| WRONG)?;
            let mut text = |name: &str| match event.remove(name) {
                Some(Value::String(text)) => Ok(text),
                _ => Err(WRONG),
            };
            let (id, source, kind) = (text("id")?, text("source")?, text("type")?);
            let time: Timestamp = text("time")?.parse().map_err(|_| WRONG)?;
            let subject = text("subject")?;
            let Some(Value::Object(data)) = event.remove("data") else { return Err(WRONG) };
            (id, source, kind, time, subject, data)
        }
    };
    let (tenant, channel) = source
        .strip_prefix("/tenants/")
        .and_then(|rest| rest.split_once("/channels/"))
        .ok_or(CodecError("an event of no channel"))?;
    Ok(Event {
        id: EventId::kept(&id),
        tenant: tenant.parse().map_err(|_| WRONG)?,
        channel: channel.parse().map_err(|_| WRONG)?,
        kind: EventType::from_name(&kind).ok_or(CodecError("an event of an unknown type"))?,
        time,
        subject,
        data,
        trace: None,
    })
}

/// What could not be processed.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// The same each time the letter is written again.
    pub id: EventId,
    /// The service that gave up.
    pub service: &'static str,
    /// Whose it is, if that is known.
    pub tenant: Option<TenantId>,
    /// On which channel, if that is known.
    pub channel: Option<ChannelId>,
    /// A stable code.
    pub reason: &'static str,
    /// One line for a person, without personal data.
    pub detail: String,
    /// The subject that the payload came from.
    pub subject: String,
    /// How the payload is written.
    pub encoding: Encoding,
    /// What could not be processed.
    pub payload: Bytes,
    /// When it was given up.
    pub time: Timestamp,
    /// What the payload was, as a replay must know it.
    pub origin: Origin,
}

/// What the payload of a dead letter was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// A command of this id, which need not stand in the payload.
    Command(CommandId),
    /// A webhook's body, or a part of one.
    Webhook {
        /// Who sent it.
        provider: v1::Provider,
        /// The app for Meta; the channel for the other providers.
        source: String,
        /// How the payload is written.
        encoding: v1::BodyEncoding,
    },
    /// Something else.
    #[default]
    Other,
}

/// A dead letter's headers and payload.
pub fn dead_letter_message(letter: &DeadLetter) -> (HeaderMap, Bytes) {
    let mut headers = HeaderMap::new();
    headers.insert("Content-Type", Encoding::Protobuf.content_type());
    headers.insert("Staffetta-Reason", letter.reason);
    let mut document = v1::DeadLetter {
        id: letter.id.as_str().into(),
        service: letter.service.into(),
        tenant: letter.tenant.as_ref().map(ToString::to_string).unwrap_or_default(),
        channel: letter.channel.as_ref().map(ToString::to_string).unwrap_or_default(),
        reason: letter.reason.into(),
        detail: letter.detail.clone(),
        subject: letter.subject.clone(),
        content_type: letter.encoding.content_type().into(),
        payload: letter.payload.clone(),
        time: Some(to_timestamp(letter.time)),
        ..v1::DeadLetter::default()
    };
    match &letter.origin {
        Origin::Command(id) => document.command = id.to_string(),
        Origin::Webhook { provider, source, encoding } => {
            document.set_provider(*provider);
            document.source = source.clone();
            document.set_body_encoding(*encoding);
        }
        Origin::Other => {}
    }
    (headers, document.encode_to_vec().into())
}

/// Reads a dead letter as it stands on DEAD.
///
/// # Errors
/// If it is none.
pub fn decode_dead_letter(payload: &[u8]) -> Result<v1::DeadLetter, CodecError> {
    v1::DeadLetter::decode(payload).map_err(|_| CodecError("not a dead letter"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_command_is_the_same_in_both_encodings() {
        let json =
            br#"{"id":"a","to":"393481213456","type":"location","location":{"latitude":45.5,"longitude":9},
                        "expires_at":"2026-11-21T09:30:00Z","callback_data":"order 7"}"#;
        let fields = command_fields(Encoding::Json, json).unwrap();
        let again = command_fields(Encoding::Protobuf, &encode_command(&fields)).unwrap();
        assert!(again == fields);
    }

    #[test]
    fn a_wrong_type_is_named_and_its_value_is_not_shown() {
        let error = command_fields(Encoding::Json, br#"{"to":393481213456}"#).unwrap_err();
        assert_eq!(error.to_string(), "to: must be a text");
        let error = command_fields(Encoding::Json, b"[393481213456").unwrap_err();
        assert_eq!(error.field, "payload");
    }

    #[test]
    fn an_event_is_read_back_from_both_encodings() {
        let event = Event {
            id: EventId::of(&["x"]),
            tenant: "acme".parse().unwrap(),
            channel: "acme-orders".parse().unwrap(),
            kind: EventType::MessageReceived,
            time: "2026-11-21T09:30:00Z".parse().unwrap(),
            subject: "wamid.A".into(),
            data: json!({"type": "text", "n": 1, "conversation_id": "c7", "sequence": 3})
                .as_object()
                .unwrap()
                .clone(),
            trace: TraceParent::new([1; 16], [2; 8], 1),
        };
        for encoding in [Encoding::Json, Encoding::Protobuf] {
            let (headers, payload) = event_message(&event, encoding);
            assert_eq!(Encoding::of(Some(&headers)), encoding);
            assert_eq!(headers.get("ce-partitionkey").unwrap().as_str(), "c7");
            assert_eq!(headers.get("ce-sequence").unwrap().as_str(), "3");
            let read = decode_event(encoding, &payload).unwrap();
            assert!(Event { trace: trace_of(Some(&headers)), ..read } == event);
        }
    }
}
