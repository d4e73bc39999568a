//! A command that came some other way than over NATS, made ready for SEND.

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;
use staffetta_domain::{
    ChannelId, Command, CommandFields, CommandId, InvalidCommand, InvalidId, Lane, TenantId,
};

use crate::codec::{Encoding, command_fields, encode_command};

/// A command that was checked, and what stands for it on SEND: Protocol Buffers.
#[derive(Clone, Debug)]
pub struct WantedCommand {
    /// The command.
    pub command: Command,
    /// Its payload.
    pub payload: Bytes,
}

impl WantedCommand {
    /// Checks what a tenant wants sent through one of its channels. `id` makes up the id of a command that has none.
    ///
    /// # Errors
    /// Names the first field that isn't as it must be.
    pub fn of(
        mut fields: CommandFields,
        tenant: &TenantId,
        channel: &ChannelId,
        now: Timestamp,
        id: impl FnOnce() -> CommandId,
    ) -> Result<Self, InvalidCommand> {
        let lane = lane(&fields)?;
        let command = fields.clone().check(tenant, channel, lane, id)?;
        command.check_times(now)?;
        fields.id = Some(command.id.to_string());
        fields.rest.retain(|name, _| *name == command.kind);
        let payload = encode_command(&fields);
        // Protocol Buffers are read to a lesser depth than JSON: the dispatcher must be able to read it.
        match command_fields(Encoding::Protobuf, &payload) {
            Ok(_) => Ok(Self { command, payload }),
            Err(_) => Err(InvalidCommand::new(command.kind, "is nested too deeply")),
        }
    }
}

/// Takes the field `channel`, where a command names its own, out of the others.
///
/// # Errors
/// If it is there and can't be a channel's id.
pub fn take_channel(fields: &mut CommandFields) -> Result<Option<ChannelId>, InvalidCommand> {
    match fields.rest.remove("channel") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(id)) => {
            let id = id.parse().map_err(|invalid: InvalidId| InvalidCommand::new("channel", invalid.problem));
            id.map(Some)
        }
        Some(_) => Err(InvalidCommand::new("channel", "must be a text")),
    }
}

fn lane(fields: &CommandFields) -> Result<Lane, InvalidCommand> {
    let Some(name) = &fields.lane else { return Ok(Lane::default()) };
    name.parse().map_err(|invalid: InvalidId| InvalidCommand::new("lane", invalid.problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(json: &str) -> Result<WantedCommand, InvalidCommand> {
        let mut fields = command_fields(Encoding::Json, json.as_bytes())?;
        let channel = take_channel(&mut fields)?.unwrap_or_else(|| "acme-orders".parse().unwrap());
        let made_up = || "made-up".parse().unwrap();
        WantedCommand::of(fields, &"acme".parse().unwrap(), &channel, Timestamp::now(), made_up)
    }

    #[test]
    fn what_goes_on_the_queue_is_what_was_checked() {
        let json = r#"{"to":"+39 348 1213456","type":"text","lane":"urgent","channel":"acme-news",
                       "text":{"body":"Fattura pronta"},"image":{"id":"1"},"messaging_product":"whatsapp"}"#;
        let WantedCommand { command, payload } = wanted(json).unwrap();
        assert_eq!((command.channel.as_str(), command.lane), ("acme-news", Lane::Urgent));
        let fields = command_fields(Encoding::Protobuf, &payload).unwrap();
        assert_eq!(fields.id.as_deref(), Some("made-up"));
        assert_eq!(fields.rest.keys().collect::<Vec<_>>(), ["text"]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (json, field) in [
            (r#"{"to":"393481213456","type":"text","text":{"body":"a"},"channel":7}"#, "channel"),
            (r#"{"to":"393481213456","type":"text","text":{"body":"a"},"channel":"A B"}"#, "channel"),
            (r#"{"to":"393481213456","type":"text","text":{"body":"a"},"lane":"fast"}"#, "lane"),
            (r#"{"type":"text","text":{"body":"a"}}"#, "to"),
        ] {
            assert_eq!(wanted(json).unwrap_err().field, field, "{json}");
        }
    }
}
