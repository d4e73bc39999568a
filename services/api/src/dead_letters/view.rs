//! Letters, as the API shows them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::Value;
use staffetta_bus::{Letter, ShownPayload};
use utoipa::ToSchema;

/// A letter without its payload.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeadLetter)]
pub(crate) struct LetterView {
    id: String,
    #[schema(format = DateTime)]
    time: String,
    /// Which service could not process it.
    service: String,
    channel: Option<String>,
    /// A word that does not change.
    reason: String,
    /// The reason in words.
    detail: String,
    /// Where it came from.
    subject: String,
    /// Of the payload, in bytes.
    size: usize,
    replayable: bool,
}

impl From<&Letter> for LetterView {
    fn from(letter: &Letter) -> Self {
        Self {
            id: letter.id.to_string(),
            time: letter.time.to_string(),
            service: letter.service.clone(),
            channel: letter.channel.as_ref().map(ToString::to_string),
            reason: letter.reason.clone(),
            detail: letter.detail.clone(),
            subject: letter.subject.clone(),
            size: letter.payload.len(),
            replayable: letter.way_back().is_ok(),
        }
    }
}

/// A letter as a whole.
#[derive(Serialize, ToSchema)]
#[schema(as = WholeDeadLetter)]
pub(crate) struct WholeLetterView {
    #[serde(flatten)]
    letter: LetterView,
    /// What it was, where that is JSON or a message.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Value>,
    /// What it was, otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
}

impl From<&Letter> for WholeLetterView {
    fn from(letter: &Letter) -> Self {
        let (payload, payload_base64) = match letter.shown_payload() {
            ShownPayload::Json(value) => (Some(value), None),
            ShownPayload::Bytes(bytes) => (None, Some(STANDARD.encode(bytes))),
        };
        Self { letter: letter.into(), payload, payload_base64 }
    }
}
