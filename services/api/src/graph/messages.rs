//! `POST /graph/{version}/{phone_number_id}/messages`.

use std::time::Duration;

use aws_lc_rs::digest;
use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use staffetta_bus::Provider;
use staffetta_domain::{
    ChannelId, CommandFields, CommandId, FACADE_PREFIX, Recipient, TenantId, command_of_facade_wamid,
    facade_wamid,
};
use tokio::time::timeout;
use uuid::Uuid;

use super::error::GraphError;
use super::marks;
use super::node::Node;
use crate::App;
use crate::caller::Sender;
use crate::messages::{SendMessageError, Wanted, take_body, take_in};

/// Longest wait for the database when a message refers to another one.
const LOOK_UP_TIME: Duration = Duration::from_secs(2);

/// Why a message was not taken in.
#[derive(Debug)]
pub(crate) enum FacadeError {
    Graph(GraphError),
    /// For the reasons that hold for every message.
    Send(SendMessageError),
}

impl From<GraphError> for FacadeError {
    fn from(error: GraphError) -> Self {
        Self::Graph(error)
    }
}

impl From<SendMessageError> for FacadeError {
    fn from(error: SendMessageError) -> Self {
        Self::Send(error)
    }
}

impl IntoResponse for FacadeError {
    fn into_response(self) -> Response {
        match self {
            Self::Graph(error) => error.into_response(),
            Self::Send(error) => error.into_response(),
        }
    }
}

/// Takes a message in, or marks one as read.
///
/// The message's id in the answer is one of ours that looks like Meta's: webhooks in the format `cloud_api` use it too.
#[utoipa::path(
    post,
    path = "/graph/{version}/{id}/messages",
    operation_id = "graph_send_message",
    tag = "graph",
    params(
        ("version" = String, Path, description = "Any version of the Graph API, as `v24.0`"),
        ("id" = String, Path, description = "The number's id (`phone_number_id`), one of your channels'"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key again is the same message, sent once"),
        ("traceparent" = Option<String>, Header, description = "W3C Trace Context: passed on with the message"),
    ),
    request_body = Value,
    responses(
        (status = 200, description = "As Meta's: it will be sent", body = Value),
        (status = 429, description = "The channel's lane is full (130429), or there are too many requests (4)"),
        (status = "4XX", description = "As Meta's"),
    ),
)]
pub(crate) async fn messages(
    State(app): State<App>,
    Sender(caller): Sender,
    number: Node,
    request: Request,
) -> Result<Json<Value>, FacadeError> {
    let channel = channel(&app, &caller.0.id, &number.id)?;
    let headers = request.headers().clone();
    let (_room, body) = take_body(&app, request).await?;
    let Ok(mut body) = serde_json::from_slice::<Map<String, Value>>(&body) else {
        return Err(GraphError::parameter("The request body must be a JSON object.").into());
    };
    match body.get("messaging_product") {
        Some(product) if product == "whatsapp" => {}
        Some(Value::Null) | None => return Err(GraphError::required("messaging_product").into()),
        Some(_) => {
            return Err(GraphError::parameter("Param messaging_product must be one of {WHATSAPP}").into());
        }
    }
    if body.get("status").is_some_and(|status| !status.is_null()) {
        return Ok(Json(marks::mark(&app, &caller.0.id, &channel, &number.id, &body).await?));
    }
    for message in ["/context/message_id", "/reaction/message_id"] {
        translate(&app, &caller.0.id, &channel, &mut body, message).await?;
    }
    let mut fields = fields(body, &channel)?;
    fields.id = Some(id(&channel, &headers)?.to_string());
    let (input, is_template) =
        (fields.to.clone().unwrap_or_default(), fields.kind.as_deref() == Some("template"));
    let id = fields.id.clone().unwrap_or_default();
    let wanted = Wanted::of(&app.registry.load(), &caller, &headers, fields)?;
    take_in(&app, wanted).await?;
    Ok(Json(accepted(&input, &id, is_template)))
}

/// The tenant's channel of this number. It need not have a token at hand to take messages in.
fn channel(app: &App, tenant: &TenantId, number: &str) -> Result<ChannelId, GraphError> {
    let registry = app.registry.load();
    let channel = registry.channel_of_number(number);
    let own =
        channel.filter(|channel| channel.tenant.id == *tenant && channel.provider == Provider::CloudApi);
    own.map(|channel| channel.id.clone()).ok_or_else(|| GraphError::not_there(&Method::POST, number))
}

/// Puts Meta's id in the place of one of ours at `place` of the body: Meta knows no other.
async fn translate(
    app: &App,
    tenant: &TenantId,
    channel: &ChannelId,
    body: &mut Map<String, Value>,
    place: &str,
) -> Result<(), GraphError> {
    let mut parts = place.trim_start_matches('/').split('/');
    let (outer, inner) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let Some(id) = body.get_mut(outer).and_then(|object| object.get_mut(inner)) else { return Ok(()) };
    if let Some(raw) = id.as_str() {
        *id = Value::String(metas_id(app, tenant, channel, raw, &place[1..].replace('/', ".")).await?);
    }
    Ok(())
}

/// Meta's id of a message that is called `raw` in the field `name`.
pub(super) async fn metas_id(
    app: &App,
    tenant: &TenantId,
    channel: &ChannelId,
    raw: &str,
    name: &str,
) -> Result<String, GraphError> {
    let Some(command) = command_of_facade_wamid(raw) else { return Ok(raw.to_owned()) };
    let found = timeout(LOOK_UP_TIME, app.store.command(tenant, &command)).await;
    let found = match found {
        Ok(Ok(found)) => found.filter(|record| record.channel == *channel),
        Ok(Err(_)) | Err(_) => {
            return Err(GraphError::unavailable(format!("{name}: the message could not be looked up.")));
        }
    };
    let record = found
        .ok_or_else(|| GraphError::value(format!("Parameter '{name}' names no message of this number")))?;
    match record.wamid {
        Some(wamid) => Ok(wamid.as_str().to_owned()),
        None => {
            let problem =
                "names a message that WhatsApp has not accepted yet: repeat the request once it has";
            Err(GraphError::value(format!("Parameter '{name}' {problem}")))
        }
    }
}

/// The body as a command.
fn fields(mut body: Map<String, Value>, channel: &ChannelId) -> Result<CommandFields, GraphError> {
    if body.get("recipient_identity_key_hash").is_some_and(|hash| !hash.is_null()) {
        // To send regardless would be to do what the client wants to rule out.
        return Err(GraphError::parameter("Param recipient_identity_key_hash is not supported here."));
    }
    let to = text(&mut body, "to")?;
    let to = match to {
        Some(to) => Some(to),
        None => text(&mut body, "recipient")?,
    };
    let kind = text(&mut body, "type")?.unwrap_or_else(|| "text".to_owned());
    let reply_to = match body.remove("context") {
        Some(Value::Object(mut context)) => text(&mut context, "message_id")?,
        _ => None,
    };
    let callback_data = text(&mut body, "biz_opaque_callback_data")?;
    let mut rest = Map::new();
    for name in [kind.as_str(), "recipient_type"] {
        rest.extend(body.remove(name).map(|value| (name.to_owned(), value)));
    }
    rest.insert("channel".to_owned(), json!(channel.as_str()));
    Ok(CommandFields { to, kind: Some(kind), reply_to, callback_data, rest, ..CommandFields::default() })
}

/// A field that is a text; some clients write numbers as such.
fn text(body: &mut Map<String, Value>, name: &str) -> Result<Option<String>, GraphError> {
    match body.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(Value::Number(number)) if name == "to" => Ok(Some(number.to_string())),
        Some(_) => Err(GraphError::parameter(format!("Param {name} must be a string."))),
    }
}

/// Largest `Idempotency-Key`, in bytes.
const LONGEST_KEY: usize = 256;

/// The command's id: the same for the same key and channel, and otherwise a new one.
fn id(channel: &ChannelId, headers: &HeaderMap) -> Result<CommandId, GraphError> {
    let wrong =
        || GraphError::parameter("The header Idempotency-Key must be 1 to 256 printable ASCII characters.");
    let name = match headers.get("Idempotency-Key") {
        None => Uuid::now_v7().simple().to_string(),
        Some(key) => {
            let key = key.to_str().map_err(|_| wrong())?;
            if key.is_empty() || key.len() > LONGEST_KEY {
                return Err(wrong());
            }
            let digest = digest::digest(&digest::SHA256, format!("{channel}\n{key}").as_bytes());
            hex::encode(&digest.as_ref()[..16])
        }
    };
    Ok(format!("{FACADE_PREFIX}{name}").parse().expect("a prefix and 32 hexadecimal digits are an id"))
}

fn accepted(input: &str, id: &str, is_template: bool) -> Value {
    let contact = match input.parse() {
        Ok(Recipient::Phone(digits)) => json!({ "input": input, "wa_id": digits }),
        Ok(Recipient::User(user)) => json!({ "input": input, "user_id": user }),
        Err(_) => json!({ "input": input }),
    };
    let wamid = id.parse().map(|id: CommandId| facade_wamid(&id)).unwrap_or_default();
    let mut message = json!({ "id": wamid });
    if is_template {
        message["message_status"] = json!("accepted");
    }
    json!({ "messaging_product": "whatsapp", "contacts": [contact], "messages": [message] })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_body_becomes_a_command_and_nothing_else_of_it_does() {
        let channel: ChannelId = "acme-orders".parse().unwrap();
        let body = object(json!({
            "messaging_product": "whatsapp", "recipient_type": "individual", "to": "+39 348 121 3456",
            "recipient": "IT.1", "type": "image", "image": {"id": "1"}, "text": {"body": "x"},
            "context": {"message_id": "wamid.A"}, "biz_opaque_callback_data": "order 7",
            "id": "mine", "channel": "other-orders", "lane": "urgent", "send_at": "2099-01-01T00:00:00Z",
        }));
        let fields = fields(body, &channel).unwrap();
        assert_eq!((fields.id, fields.lane, fields.send_at), (None, None, None));
        assert_eq!(fields.to.as_deref(), Some("+39 348 121 3456"));
        assert_eq!((fields.kind.as_deref(), fields.reply_to.as_deref()), (Some("image"), Some("wamid.A")));
        assert_eq!(fields.callback_data.as_deref(), Some("order 7"));
        let rest = json!({"image": {"id": "1"}, "recipient_type": "individual", "channel": "acme-orders"});
        assert_eq!(Value::Object(fields.rest), rest);
    }

    #[test]
    fn what_a_client_may_leave_out_is_filled_in() {
        let channel: ChannelId = "acme-orders".parse().unwrap();
        let fields = fields(object(json!({"recipient": "IT.1", "text": {"body": "x"}})), &channel).unwrap();
        assert_eq!((fields.to.as_deref(), fields.kind.as_deref()), (Some("IT.1"), Some("text")));
        for wrong in
            [json!({"to": {}}), json!({"to": "1", "type": 1}), json!({"recipient_identity_key_hash": "x"})]
        {
            assert!(super::fields(object(wrong), &channel).is_err());
        }
    }

    #[test]
    fn the_same_key_is_the_same_message_of_a_channel() {
        let id = |channel: &str, key: Option<&str>| {
            let keys =
                key.map(|key| ("idempotency-key".parse().unwrap(), HeaderValue::from_str(key).unwrap()));
            super::id(&channel.parse().unwrap(), &HeaderMap::from_iter(keys)).map_err(drop)
        };
        assert_eq!(id("a", Some("k")), id("a", Some("k")));
        assert_ne!(id("a", Some("k")), id("b", Some("k")));
        assert_ne!(id("a", None), id("a", None));
        assert_eq!(id("a", Some("k")).unwrap().as_str().len(), FACADE_PREFIX.len() + 32);
        assert!(id("a", Some("")).is_err() && id("a", Some(&"k".repeat(257))).is_err());
    }

    #[test]
    fn an_answer_names_the_recipient_as_meta_does() {
        let id = "graph-0198c0ffee0074a0b1d2e3f405162738";
        let answer = accepted("+39 348 121 3456", id, true);
        assert_eq!(answer["contacts"][0], json!({"input": "+39 348 121 3456", "wa_id": "393481213456"}));
        assert_eq!(answer["messages"][0]["message_status"], "accepted");
        let wamid = answer["messages"][0]["id"].as_str().unwrap();
        assert_eq!(command_of_facade_wamid(wamid).unwrap().as_str(), id);
        let contact = accepted("IT.1", id, false)["contacts"][0].clone();
        assert_eq!(contact, json!({"input": "IT.1", "user_id": "IT.1"}));
    }
}
