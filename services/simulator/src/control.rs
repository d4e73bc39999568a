//! The control side: JSON under `/_sim/`, beside the Cloud API on the same port.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::faults::{Fault, MAX_FAULTS};
use crate::inbound::{InboundError, InboundMessage, InboundRate};
use crate::media::LARGEST_FILE;
use crate::options::{Behaviour, InvalidOption, SimChannel};
use crate::report::{Detail, Report};
use crate::templates::Template;
use crate::throughput::Upgrade;
use crate::usage::Usage;
use crate::users::UserState;
use crate::validate::phone;
use crate::world::World;

/// Why a control request was refused.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Not the JSON that the endpoint takes.
    #[error("the body is not what this endpoint takes: {0}")]
    Body(#[from] serde_json::Error),
    /// A body that is not UTF-8.
    #[error("the body is not utf-8")]
    NotText,
    /// An option with an impossible value.
    #[error(transparent)]
    Option(#[from] InvalidOption),
    /// An inbound message that can't arrive.
    #[error(transparent)]
    Inbound(#[from] InboundError),
    /// No such number.
    #[error("the phone number id is not registered")]
    UnknownNumber,
    /// The faults in force are too many.
    #[error("{MAX_FAULTS} faults are in force already")]
    TooManyFaults,
    /// An upgrade that takes something away.
    #[error("an upgrade's rate must not be below the one before")]
    LowerRate,
    /// Neither a phone number nor a business-scoped user id.
    #[error("a user is a phone number or a business-scoped user id")]
    BadUser,
    /// More than are kept.
    #[error("{most} {what} are known already")]
    TooMany {
        /// What there are too many of.
        what: &'static str,
        /// How many may be known.
        most: usize,
    },
}

impl IntoResponse for ControlError {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::UnknownNumber | Self::Inbound(InboundError::UnknownNumber) => StatusCode::NOT_FOUND,
            Self::Body(_)
            | Self::NotText
            | Self::Option(_)
            | Self::Inbound(_)
            | Self::TooManyFaults
            | Self::LowerRate
            | Self::BadUser
            | Self::TooMany { .. } => StatusCode::BAD_REQUEST,
        };
        (status, axum::Json(json!({ "error": self.to_string() }))).into_response()
    }
}

type Answer = Result<axum::Json<Value>, ControlError>;

/// Everything under `/_sim/`.
pub(crate) fn routes() -> Router<Arc<World>> {
    Router::new()
        .route("/_sim/channels/{number}", put(put_channel))
        .route("/_sim/token/{number}", post(post_token))
        .route("/_sim/upgrade/{number}", post(post_upgrade))
        .route("/_sim/templates/{name}", put(put_template))
        .route("/_sim/users/{user}", put(put_user))
        .route("/_sim/usage", put(put_usage))
        .route("/_sim/behaviour", get(get_behaviour).put(put_behaviour))
        .route("/_sim/behaviour/{number}", put(put_channel_behaviour).delete(delete_channel_behaviour))
        .route("/_sim/faults", get(get_faults).post(post_fault).delete(delete_faults))
        .route("/_sim/inbound", post(post_inbound))
        .route("/_sim/inbound/{number}", put(put_inbound_rate))
        .route("/_sim/media/{number}", post(post_media).layer(DefaultBodyLimit::max(LARGEST_FILE)))
        .route("/_sim/webhook/{number}", post(post_webhook))
        .route("/_sim/report", get(get_report).delete(delete_report))
}

impl World {
    pub(crate) fn put_channel(&self, channel: SimChannel) -> Result<(), ControlError> {
        channel.check()?;
        self.state().put_channel(channel);
        Ok(())
    }

    pub(crate) fn set_token(&self, number: &str, access_token: String) -> Result<(), ControlError> {
        if access_token.is_empty() {
            return Err(InvalidOption::Empty { name: "access_token" }.into());
        }
        let mut state = self.state();
        let channel = state.channels.get_mut(number).ok_or(ControlError::UnknownNumber)?;
        channel.config.access_token = access_token;
        channel.token_ends = None;
        Ok(())
    }

    pub(crate) fn set_behaviour(&self, behaviour: Behaviour) -> Result<(), ControlError> {
        behaviour.check()?;
        self.state().behaviour = Arc::new(behaviour);
        Ok(())
    }

    /// `None` gives the number back to what holds for all.
    pub(crate) fn set_channel_behaviour(
        &self,
        number: &str,
        behaviour: Option<Behaviour>,
    ) -> Result<(), ControlError> {
        if let Some(behaviour) = &behaviour {
            behaviour.check()?;
        }
        let mut state = self.state();
        let channel = state.channels.get_mut(number).ok_or(ControlError::UnknownNumber)?;
        channel.behaviour = behaviour.map(Arc::new);
        Ok(())
    }

    pub(crate) fn set_usage(&self, usage: Usage) -> Result<(), ControlError> {
        usage.check()?;
        self.state().usage = (usage != Usage::default()).then_some(usage);
        Ok(())
    }

    pub(crate) fn add_fault(&self, mut fault: Fault) -> Result<(), ControlError> {
        fault.check()?;
        // A recipient may be written like a send's `to`; sends are compared by digits.
        fault.recipient = fault.recipient.map(|recipient| phone(&recipient).unwrap_or(recipient));
        let now = self.now();
        if self.state().faults.add(fault, now) { Ok(()) } else { Err(ControlError::TooManyFaults) }
    }
}

async fn put_channel(State(world): State<Arc<World>>, Path(number): Path<String>, body: Bytes) -> Answer {
    let mut settings: Map<String, Value> = read(&body)?;
    let level = settings.remove("throughput_level").map(serde_json::from_value).transpose()?;
    let channel =
        SimChannel { phone_number_id: number.clone(), ..serde_json::from_value(Value::Object(settings))? };
    world.put_channel(channel)?;
    world.set_level(&number, level)?;
    done()
}

/// An upgrade of the number's throughput begins.
async fn post_upgrade(State(world): State<Arc<World>>, Path(number): Path<String>, body: Bytes) -> Answer {
    let upgrade: Upgrade = read(&body)?;
    world.upgrade(&number, upgrade)?;
    done()
}

/// Replaces what is known of a template.
async fn put_template(State(world): State<Arc<World>>, Path(name): Path<String>, body: Bytes) -> Answer {
    let template: Template = read(&body)?;
    world.put_template(&name, template)?;
    done()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct User {
    state: UserState,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfNumber {
    phone_number_id: Option<String>,
}

/// Says how a user stands to one number or to all.
async fn put_user(
    State(world): State<Arc<World>>,
    Path(user): Path<String>,
    Query(OfNumber { phone_number_id }): Query<OfNumber>,
    body: Bytes,
) -> Answer {
    let User { state } = read(&body)?;
    world.put_user(&user, state, phone_number_id.as_deref())?;
    done()
}

/// Says how much of the call limits is used; `{}` says nothing.
async fn put_usage(State(world): State<Arc<World>>, body: Bytes) -> Answer {
    let usage: Usage = read(&body)?;
    world.set_usage(usage)?;
    done()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Token {
    access_token: String,
    /// When it ends, in Unix seconds.
    #[serde(default)]
    expires_at: Option<u64>,
}

/// A new token: the one before is refused with 190 from now on.
async fn post_token(State(world): State<Arc<World>>, Path(number): Path<String>, body: Bytes) -> Answer {
    let Token { access_token, expires_at } = read(&body)?;
    world.set_token(&number, access_token)?;
    world.set_token_end(&number, expires_at)?;
    done()
}

async fn get_behaviour(State(world): State<Arc<World>>) -> axum::Json<Behaviour> {
    axum::Json((*world.state().behaviour).clone())
}

/// Replaces the behaviour: what is left out is the default again.
async fn put_behaviour(State(world): State<Arc<World>>, body: Bytes) -> Answer {
    world.set_behaviour(read(&body)?)?;
    done()
}

async fn put_channel_behaviour(
    State(world): State<Arc<World>>,
    Path(number): Path<String>,
    body: Bytes,
) -> Answer {
    world.set_channel_behaviour(&number, Some(read(&body)?))?;
    done()
}

async fn delete_channel_behaviour(State(world): State<Arc<World>>, Path(number): Path<String>) -> Answer {
    world.set_channel_behaviour(&number, None)?;
    done()
}

async fn get_faults(State(world): State<Arc<World>>) -> axum::Json<Vec<Fault>> {
    axum::Json(world.state().faults.list())
}

async fn post_fault(State(world): State<Arc<World>>, body: Bytes) -> Answer {
    world.add_fault(read(&body)?)?;
    done()
}

async fn delete_faults(State(world): State<Arc<World>>) -> Answer {
    world.state().faults.clear();
    done()
}

async fn post_inbound(State(world): State<Arc<World>>, body: Bytes) -> Answer {
    let message: InboundMessage = read(&body)?;
    let id = world.inbound(message)?;
    Ok(axum::Json(json!({ "id": id })))
}

async fn put_inbound_rate(
    State(world): State<Arc<World>>,
    Path(number): Path<String>,
    body: Bytes,
) -> Answer {
    let rate: InboundRate = read(&body)?;
    world.set_stream(&number, rate)?;
    done()
}

/// Keeps the body as a file that a user will send.
async fn post_media(
    State(world): State<Arc<World>>,
    Path(number): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let mime = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let id = world.put_media(&number, mime.unwrap_or("application/octet-stream").to_owned(), body)?;
    Ok(axum::Json(json!({ "id": id })))
}

/// Posts the body as it came to the number's webhook, signed.
async fn post_webhook(State(world): State<Arc<World>>, Path(number): Path<String>, body: Bytes) -> Answer {
    let body = std::str::from_utf8(&body).map_err(|_| ControlError::NotText)?;
    world.raw_webhook(&number, body)?;
    done()
}

#[derive(Deserialize)]
struct ReportQuery {
    #[serde(default)]
    detail: u8,
}

async fn get_report(
    State(world): State<Arc<World>>,
    Query(ReportQuery { detail }): Query<ReportQuery>,
) -> axum::Json<Report> {
    axum::Json(world.report(if detail == 0 { Detail::Figures } else { Detail::Sends }))
}

async fn delete_report(State(world): State<Arc<World>>) -> Answer {
    world.state().reset_report();
    done()
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, ControlError> {
    Ok(serde_json::from_slice(body)?)
}

fn done() -> Answer {
    Ok(axum::Json(json!({ "success": true })))
}
