//! What is asked of the provider for a tenant: only ever through a number of its own, with that number's token.

mod files;
mod lines;
mod turns;
mod upload;

use axum::response::{IntoResponse, Response};
use serde_json::Value;
use staffetta_domain::ChannelId;
use staffetta_providers::graph::{CallError, Refusal};

pub(crate) use self::files::{delete, download, find};
pub(crate) use self::lines::{Line, of_account, of_channel, of_number, own};
pub(crate) use self::turns::{Turn, Turns};
pub(crate) use self::upload::{Manner, UPLOAD_LIMIT, UPLOAD_TIME, UploadError, upload};
use crate::problem::{Kind, Problem};

/// Why the provider did not do what a tenant asked of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    #[error("none of your numbers, or accounts, has this id")]
    NotYours,
    #[error("none of your channels has this id")]
    NoChannel,
    #[error("this channel's provider has no such thing")]
    OtherProvider,
    #[error("there is no such file, or it is none of yours")]
    NoFile,
    #[error("the access token of the channel {0} can't be had: tell whoever runs Staffetta")]
    NoToken(ChannelId),
    #[error("WhatsApp does not take the access token of the channel {0}: tell whoever runs Staffetta")]
    BadToken(ChannelId),
    #[error("WhatsApp refuses it: {}", words(.0))]
    Refused(Box<Refusal>),
    #[error("{0}")]
    NoAnswer(&'static str),
    #[error("as many of your requests as may be are with WhatsApp at the moment")]
    TooMany,
}

impl AskError {
    /// What a call through the line ended with.
    pub(crate) fn of(line: &Line, error: CallError) -> Self {
        match error {
            CallError::Refused(refusal) => Self::Refused(refusal),
            CallError::Token => Self::BadToken(line.channel.id.clone()),
            CallError::Gone => Self::NoFile,
            CallError::NoAnswer(why) => Self::NoAnswer(why),
        }
    }
}

/// The provider's own words, which are for the tenant alone.
fn words(refusal: &Refusal) -> String {
    let error = &refusal.body["error"];
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let details = text(&error["error_data"]["details"]).or_else(|| text(&error["message"]));
    format!("{} (its code is {})", details.unwrap_or_default(), refusal.code)
}

impl IntoResponse for AskError {
    fn into_response(self) -> Response {
        match &self {
            Self::NotYours | Self::NoChannel => Problem::of(Kind::NO_CHANNEL, &self).field("channel".into()),
            Self::OtherProvider => Problem::of(Kind::INVALID_PARAMETER, &self).field("channel".into()),
            Self::NoFile => Problem::of(Kind::NO_MEDIA, &self),
            Self::Refused(_) => Problem::of(Kind::PROVIDER_REFUSES, &self),
            Self::NoToken(_) | Self::BadToken(_) | Self::NoAnswer(_) => {
                Problem::of(Kind::PROVIDER_AWAY, &self).retry_after(10)
            }
            Self::TooMany => Problem::of(Kind::RATE_LIMITED, &self).retry_after(1),
        }
        .into_response()
    }
}
