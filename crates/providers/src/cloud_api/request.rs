//! What is sent.

use bytes::Bytes;
use serde_json::{Value, json};
use staffetta_domain::{Callback, Command, Recipient};

/// The Cloud API's body for a command. The number leaves as `+` and digits, or Meta may take it for a national one.
pub fn message_body(command: &Command, callback: &Callback) -> Bytes {
    let mut body = json!({
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "biz_opaque_callback_data": callback.encode(),
        "type": command.kind,
    });
    match &command.to {
        Recipient::Phone(digits) => body["to"] = Value::String(format!("+{digits}")),
        Recipient::User(id) => body["recipient"] = Value::String(id.to_string()),
    }
    body[command.kind.as_str()] = command.content.clone();
    if let Some(quoted) = &command.reply_to {
        body["context"] = json!({ "message_id": quoted.as_str() });
    }
    body.to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use staffetta_domain::{CommandFields, Lane};

    fn body(json: Value) -> Value {
        let fields: CommandFields = serde_json::from_value(json).unwrap();
        let (tenant, channel) = ("acme".parse().unwrap(), "acme-orders".parse().unwrap());
        let command = fields.check(&tenant, &channel, Lane::Normal, || "none".parse().unwrap()).unwrap();
        let callback = Callback::decode("st1:2:a").unwrap();
        serde_json::from_slice(&message_body(&command, &callback)).unwrap()
    }

    #[test]
    fn a_number_leaves_with_its_plus() {
        let body = body(
            json!({"id":"a","to":"393481213456","type":"text","text":{"body":"x"},"reply_to":"wamid.Q"}),
        );
        assert_eq!(
            body,
            json!({
                "messaging_product": "whatsapp", "recipient_type": "individual", "to": "+393481213456",
                "type": "text", "text": {"body": "x"}, "context": {"message_id": "wamid.Q"},
                "biz_opaque_callback_data": "st1:2:a",
            })
        );
    }

    #[test]
    fn a_business_scoped_id_leaves_as_recipient() {
        let body = body(json!({"to":"IT.123","type":"text","text":{"body":"x"}}));
        assert_eq!(body["recipient"], "IT.123");
        assert_eq!(body.get("to"), None);
    }
}
