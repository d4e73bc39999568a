//! What the body of `POST /v1/messages` looks like, for the API's description. It is read elsewhere, field by field.

use serde_json::{Map, Value};
use utoipa::ToSchema;

/// A message to send: exactly one of the fields from `text` to `reaction` is there, the one that `type` names, and it is
/// written as Meta's Cloud API has it. Other fields are passed over.
#[derive(ToSchema)]
#[schema(
    as = SendCommand,
    example = json!({
        "id": "inv-2026-0042", "channel": "acme-orders", "to": "393481213456",
        "type": "text", "text": {"body": "Fattura pronta"},
    }),
)]
#[expect(dead_code, reason = "it is a description")]
pub(crate) struct SendCommand {
    /// Your own id of the message: printable ASCII without spaces. The same id twice is sent once. Made up if missing.
    #[schema(min_length = 1, max_length = 128)]
    id: Option<String>,
    /// The number to send from, as `GET /v1/channels` names it.
    #[schema(pattern = "^[a-z0-9-]{1,63}$")]
    channel: String,
    /// A phone number with its country code, with or without `+`, or a business-scoped user id.
    #[schema(example = "393481213456")]
    to: String,
    r#type: MessageType,
    /// `{"body": "…"}`, and `preview_url`.
    text: Option<Map<String, Value>>,
    /// `{"name": "…", "language": {"code": "it"}, "components": […]}`
    template: Option<Map<String, Value>>,
    /// `{"link": "…"}` or `{"id": "…"}`, and `caption`.
    image: Option<Map<String, Value>>,
    /// `{"link": "…"}` or `{"id": "…"}`.
    audio: Option<Map<String, Value>>,
    /// `{"link": "…"}` or `{"id": "…"}`, and `caption`.
    video: Option<Map<String, Value>>,
    /// `{"link": "…"}` or `{"id": "…"}`, and `filename` and `caption`.
    document: Option<Map<String, Value>>,
    /// `{"link": "…"}` or `{"id": "…"}`.
    sticker: Option<Map<String, Value>>,
    /// Buttons, lists, products, flows: `{"type": "button", "body": {"text": "…"}, "action": {…}}`
    interactive: Option<Map<String, Value>>,
    /// `{"latitude": …, "longitude": …}`, and `name` and `address`.
    location: Option<Map<String, Value>>,
    /// `[{"name": {"formatted_name": "…", …}, "phones": […]}]`
    contacts: Option<Vec<Map<String, Value>>>,
    /// `{"message_id": "wamid.…", "emoji": "👍"}`; an empty `emoji` takes it back.
    reaction: Option<Map<String, Value>>,
    /// The wamid of the message that this one answers.
    reply_to: Option<String>,
    #[schema(default = "normal")]
    lane: Option<LaneName>,
    /// Not before this moment, 366 days ahead at most.
    #[schema(format = DateTime)]
    send_at: Option<String>,
    /// Never after this moment.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    /// What happens to anything but a template while the 24 hours since the user last wrote are over.
    window_policy: Option<WindowPolicyName>,
    /// Text of yours that comes back in every event of the message.
    #[schema(max_length = 512)]
    callback_data: Option<String>,
}

/// The kind of message, which is also the name of the field that holds it.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "it is a description")]
pub(crate) enum MessageType {
    Text,
    Template,
    Image,
    Audio,
    Video,
    Document,
    Sticker,
    Interactive,
    Location,
    Contacts,
    Reaction,
}

/// `urgent` overtakes everything else of the channel, `bulk` waits for everything else.
#[derive(ToSchema)]
#[schema(as = Lane, rename_all = "snake_case")]
#[expect(dead_code, reason = "it is a description")]
pub(crate) enum LaneName {
    Urgent,
    Normal,
    Bulk,
}

/// `reject`, or `template` to let the channel's own template carry it. Without one, WhatsApp decides.
#[derive(ToSchema)]
#[schema(as = WindowPolicy, rename_all = "snake_case")]
#[expect(dead_code, reason = "it is a description")]
pub(crate) enum WindowPolicyName {
    Reject,
    Template,
}
