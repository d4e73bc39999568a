//! What the provider says of a token, a number and an account: asked with the channel's own token, so that nobody needs
//! more than a channel has.

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::{CallError, Graph};

/// The right to send, and to be sent webhooks of messages.
pub const MESSAGING: &str = "whatsapp_business_messaging";
/// The right to read numbers, templates and subscriptions.
pub const MANAGEMENT: &str = "whatsapp_business_management";

/// What the provider says of an access token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenHealth {
    /// Whether it is taken.
    pub valid: bool,
    /// When it ends; `None` if it never does, or nobody says.
    pub expires: Option<Timestamp>,
    /// When the app's access to the data ends, if that is earlier than the token's end; `None` as above.
    pub data_access_expires: Option<Timestamp>,
    /// What it may do. Empty if nobody says.
    pub scopes: Vec<String>,
}

impl TokenHealth {
    /// The first moment at which the token, or what it reaches, ends.
    pub fn ends(&self) -> Option<Timestamp> {
        self.expires.into_iter().chain(self.data_access_expires).min()
    }

    /// Whether the provider says that the token may not do this.
    pub fn lacks(&self, scope: &str) -> bool {
        !self.scopes.is_empty() && !self.scopes.iter().any(|known| known == scope)
    }

    fn read(answer: &Value) -> Option<Self> {
        let data = answer.get("data")?;
        let time = |field: &str| {
            let seconds = data.get(field).and_then(Value::as_i64).filter(|seconds| *seconds > 0)?;
            Timestamp::from_second(seconds).ok()
        };
        Some(Self {
            valid: data.get("is_valid")?.as_bool()?,
            expires: time("expires_at"),
            data_access_expires: time("data_access_expires_at"),
            scopes: texts(data.get("scopes")),
        })
    }
}

/// What the provider says of a number, as far as it says it. The texts are the provider's own words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NumberHealth {
    /// `CONNECTED` if messages can be sent.
    pub status: Option<String>,
    /// `GREEN`, `YELLOW` or `RED`.
    pub quality: Option<String>,
    /// `STANDARD` (80 a second) or `HIGH` (1,000).
    pub throughput: Option<String>,
    /// `CLOUD_API`.
    pub platform: Option<String>,
    /// `AVAILABLE`, `LIMITED` or `BLOCKED`: the worst of number, account, business and app.
    pub can_send: Option<String>,
    /// Why not, as codes of the provider.
    pub error_codes: Vec<i64>,
}

/// The fields that [`NumberHealth`] is made of, as every version of the API knows them.
const FIELDS: &str = "id,status,quality_rating,throughput,platform_type";

impl NumberHealth {
    /// Messages a second that the number may send and receive together, if the provider names a level that is known.
    pub fn rate(&self) -> Option<u32> {
        match self.throughput.as_deref()? {
            "STANDARD" => Some(80),
            "HIGH" => Some(1_000),
            _ => None,
        }
    }

    fn read(answer: &Value) -> Self {
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(word);
        Self {
            status: text(answer.get("status")),
            quality: text(answer.get("quality_rating")),
            throughput: text(answer.pointer("/throughput/level")),
            platform: text(answer.get("platform_type")),
            ..Self::default()
        }
    }

    fn read_sending(&mut self, answer: &Value) {
        let Some(health) = answer.get("health_status") else { return };
        self.can_send = health.get("can_send_message").and_then(Value::as_str).map(word);
        let entities = health.get("entities").and_then(Value::as_array).into_iter().flatten();
        let errors = entities.filter_map(|entity| entity.get("errors")?.as_array()).flatten();
        self.error_codes = errors.filter_map(|error| error.get("error_code")?.as_i64()).take(10).collect();
    }
}

/// An app that is sent an account's webhooks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscribedApp {
    /// Its id at the provider.
    pub id: String,
    /// Whether the account sends the webhooks of messages to an address of its own instead of the app's.
    pub overridden: bool,
}

impl Graph {
    /// What the provider says of a token, asked with the token itself.
    ///
    /// # Errors
    /// As [`get`](Self::get). [`CallError::Token`] if it is taken no more; a refusal where the app does not let its
    /// tokens ask about themselves.
    pub async fn token_health(&self, token: &SecretString) -> Result<TokenHealth, CallError> {
        let answer = self.get(token, &["debug_token"], &[("input_token", token.expose_secret())]).await?;
        TokenHealth::read(&answer).ok_or(CallError::NoAnswer("the provider says nothing of the token"))
    }

    /// What the provider says of a number. Whether it can send is left open where that is not told.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn number_health(&self, token: &SecretString, number: &str) -> Result<NumberHealth, CallError> {
        let answer = self.get(token, &[number], &[("fields", FIELDS)]).await?;
        let mut health = NumberHealth::read(&answer);
        // By itself: a token may read the number and not this.
        if let Ok(answer) = self.get(token, &[number], &[("fields", "health_status")]).await {
            health.read_sending(&answer);
        }
        Ok(health)
    }

    /// The apps that are sent the webhooks of an account.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn subscribed_apps(
        &self,
        token: &SecretString,
        account: &str,
    ) -> Result<Vec<SubscribedApp>, CallError> {
        let answer = self.get(token, &[account, "subscribed_apps"], &[]).await?;
        let apps = answer.get("data").and_then(Value::as_array);
        let apps = apps.ok_or(CallError::NoAnswer("the provider's answer is not the Cloud API's"))?;
        Ok(apps.iter().filter_map(subscribed).collect())
    }
}

fn subscribed(app: &Value) -> Option<SubscribedApp> {
    let id = app.pointer("/whatsapp_business_api_data/id")?;
    let id = id.as_str().map_or_else(|| id.to_string(), str::to_owned);
    let overridden =
        app.get("override_callback_uri").and_then(Value::as_str).is_some_and(|uri| !uri.is_empty());
    Some(SubscribedApp { id, overridden })
}

/// A word of the provider's: short, and in the letters that its enums have.
fn word(text: &str) -> String {
    text.chars().take(40).filter(|sign| sign.is_ascii_alphanumeric() || *sign == '_').collect()
}

fn texts(list: Option<&Value>) -> Vec<String> {
    let list = list.and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str).map(word).take(100).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_token_ends_when_it_or_its_reach_does() {
        let read = |expires: i64, data: i64| {
            let data = json!({ "is_valid": true, "expires_at": expires, "data_access_expires_at": data,
                               "scopes": [MESSAGING, "public_profile"] });
            TokenHealth::read(&json!({ "data": data })).unwrap()
        };
        assert_eq!(read(0, 0).ends(), None);
        let at = |seconds| Some(Timestamp::from_second(seconds).unwrap());
        assert_eq!(read(1_800_000_000, 0).ends(), at(1_800_000_000));
        assert_eq!(read(1_800_000_000, 1_700_000_000).ends(), at(1_700_000_000));
        assert!(!read(0, 0).lacks(MESSAGING) && read(0, 0).lacks(MANAGEMENT));
        assert_eq!(TokenHealth::read(&json!({ "data": {} })), None);
    }

    #[test]
    fn a_token_whose_rights_nobody_tells_lacks_none() {
        let health = TokenHealth::read(&json!({ "data": { "is_valid": true } })).unwrap();
        assert!(!health.lacks(MESSAGING));
    }

    #[test]
    fn a_number_s_health_is_read_as_far_as_it_is_told() {
        let mut health = NumberHealth::read(&json!({
            "id": "1", "status": "CONNECTED", "quality_rating": "GREEN", "throughput": { "level": "HIGH" },
            "platform_type": "CLOUD_API",
        }));
        assert_eq!((health.status.as_deref(), health.rate()), (Some("CONNECTED"), Some(1_000)));
        health.read_sending(&json!({ "id": "1" }));
        assert_eq!(health.can_send, None);
        health.read_sending(&json!({ "health_status": { "can_send_message": "BLOCKED", "entities": [
            { "entity_type": "WABA", "id": "2", "can_send_message": "BLOCKED",
              "errors": [{ "error_code": 141_006, "error_description": "a payment" }] },
            { "entity_type": "APP", "id": "3", "can_send_message": "AVAILABLE" },
        ] } }));
        assert_eq!((health.can_send.as_deref(), health.error_codes), (Some("BLOCKED"), vec![141_006]));
        assert_eq!(NumberHealth::read(&json!({ "throughput": { "level": "ODD" } })).rate(), None);
    }

    #[test]
    fn an_app_s_id_may_be_a_number() {
        let app = |value: Value| subscribed(&value).unwrap();
        assert_eq!(app(json!({ "whatsapp_business_api_data": { "id": "67" } })).id, "67");
        let overridden = app(json!({
            "whatsapp_business_api_data": { "id": 67 }, "override_callback_uri": "https://x.example",
        }));
        assert_eq!((overridden.id.as_str(), overridden.overridden), ("67", true));
    }
}
