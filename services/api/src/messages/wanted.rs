//! A message as a tenant asks for it, checked.

use async_nats::HeaderMap as NatsHeaders;
use axum::http::{HeaderMap, HeaderValue};
use bytes::Bytes;
use jiff::Timestamp;
use staffetta_bus::{Encoding, Registry, TRACEPARENT, WantedCommand, command_fields, take_channel};
use staffetta_domain::{CommandFields, CommandId, InvalidCommand};
use staffetta_store::NewCommand;
use uuid::Uuid;

use super::send::SendMessageError;
use crate::caller::Caller;

/// A command that was checked, and how it is written on SEND.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(super) command: NewCommand,
    /// Not to be sent before, if the tenant said so.
    pub(super) send_at: Option<Timestamp>,
    pub(super) headers: NatsHeaders,
    pub(super) payload: Bytes,
}

impl Wanted {
    pub(super) fn parse(
        registry: &Registry,
        caller: &Caller,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Self, SendMessageError> {
        let mut fields = command_fields(Encoding::Json, body)?;
        fields.id = one_id(fields.id.take(), headers.get("Idempotency-Key"))?;
        Self::of(registry, caller, headers, fields)
    }

    /// The same of a command whose fields are there already, its `channel` among the rest. Of the headers, only what
    /// travels with the message counts.
    pub(crate) fn of(
        registry: &Registry,
        caller: &Caller,
        headers: &HeaderMap,
        mut fields: CommandFields,
    ) -> Result<Self, SendMessageError> {
        let channel = take_channel(&mut fields)?;
        let channel = channel.ok_or_else(|| InvalidCommand::new("channel", "is missing"))?;
        if !caller.owns(registry, &channel) {
            return Err(SendMessageError::NoChannel);
        }
        let at = now_to_the_microsecond();
        let wanted = WantedCommand::of(fields, &caller.0.id, &channel, at, made_up_id)?;
        let WantedCommand { command: checked, payload } = wanted;
        let command = NewCommand {
            tenant: caller.0.id.clone(),
            channel,
            id: checked.id,
            lane: checked.lane,
            user: checked.to.key().to_owned(),
            callback_data: checked.callback_data,
            at,
        };
        Ok(Self { command, send_at: checked.send_at, headers: nats_headers(headers), payload })
    }
}

/// The id of the body, or else that of the header; both may stand if they are the same.
fn one_id(body: Option<String>, header: Option<&HeaderValue>) -> Result<Option<String>, InvalidCommand> {
    let Some(header) = header else { return Ok(body) };
    let Ok(key) = header.to_str() else {
        return Err(InvalidCommand::new("id", "the header Idempotency-Key must be printable ASCII"));
    };
    match body {
        Some(id) if id != key => Err(InvalidCommand::new("id", "differs from the header Idempotency-Key")),
        _ => Ok(Some(key.to_owned())),
    }
}

fn made_up_id() -> CommandId {
    format!("c-{}", Uuid::now_v7().simple()).parse().expect("34 letters, digits and a dash are an id")
}

/// The database keeps no more, and a tenant shall see one time of creation, not two.
fn now_to_the_microsecond() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
}

fn nats_headers(headers: &HeaderMap) -> NatsHeaders {
    let mut taken = NatsHeaders::new();
    taken.insert("Content-Type", Encoding::Protobuf.content_type());
    // Only what `edge::guard` has left there: the request's own place in its trace.
    if let Some(parent) = headers.get(TRACEPARENT).and_then(|parent| parent.to_str().ok()) {
        taken.insert(TRACEPARENT, parent);
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_serves_as_id_and_may_not_contradict_the_body() {
        let key = HeaderValue::from_static("k");
        assert_eq!(one_id(None, Some(&key)).unwrap().as_deref(), Some("k"));
        assert_eq!(one_id(Some("k".into()), Some(&key)).unwrap().as_deref(), Some("k"));
        assert_eq!(one_id(Some("b".into()), None).unwrap().as_deref(), Some("b"));
        assert_eq!(one_id(None, None).unwrap(), None);
        assert_eq!(one_id(Some("b".into()), Some(&key)).unwrap_err().field, "id");
        assert_eq!(one_id(None, Some(&HeaderValue::from_bytes(b"\xff").unwrap())).unwrap_err().field, "id");
    }

    #[test]
    fn made_up_ids_are_told_apart() {
        assert_ne!(made_up_id(), made_up_id());
        assert!(made_up_id().as_str().starts_with("c-"));
    }
}
